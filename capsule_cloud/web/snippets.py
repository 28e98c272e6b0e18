"""The copy-paste snippets of the landing page and the console: one conversation turn in, one recall out."""

from dataclasses import dataclass

_CURL = """\
# Remember one turn
curl {base}/api/v1/sessions/{session}/ingest \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"user_id": "dana", "user_message": "We ship on Tuesdays.",
       "assistant_response": "Noted: Tuesdays."}}'

# Seal the session into a capsule
curl -X POST {base}/api/v1/sessions/{session}/seal \\
  -H "Authorization: Bearer {key}" \\
  -H "Content-Type: application/json" \\
  -d '{{"facts": [{{"key": "release.day", "value": "They ship on Tuesdays"}}]}}'

# Recall it
curl -G {base}/api/v1/recall \\
  -H "Authorization: Bearer {key}" \\
  -d user_id=dana --data-urlencode "q=When do we ship?"
"""

_PYTHON = """\
# pip install httpx
import httpx, os

key = {key}
memory = httpx.Client(
    base_url="{base}/api/v1",
    headers={{"Authorization": f"Bearer {{key}}"}},
)
memory.post("/sessions/{session}/ingest", json={{
    "user_id": "dana",
    "user_message": "We ship on Tuesdays.",
    "assistant_response": "Noted: Tuesdays.",
}})
memory.post("/sessions/{session}/seal", json={{
    "facts": [{{"key": "release.day", "value": "They ship on Tuesdays"}}],
}})

found = memory.get("/recall", params={{
    "user_id": "dana", "q": "When do we ship?",
}})
print(found.json()["prompt_injection"])
"""

_JAVASCRIPT = """\
const key = {key};
const memory = (path, options = {{}}) =>
  fetch("{base}/api/v1" + path, {{
    ...options,
    headers: {{
      Authorization: `Bearer ${{key}}`,
      "Content-Type": "application/json",
    }},
  }}).then((answer) => answer.json());

await memory("/sessions/{session}/ingest", {{
  method: "POST",
  body: JSON.stringify({{
    user_id: "dana",
    user_message: "We ship on Tuesdays.",
    assistant_response: "Noted: Tuesdays.",
  }}),
}});
await memory("/sessions/{session}/seal", {{
  method: "POST",
  body: JSON.stringify({{
    facts: [{{ key: "release.day", value: "They ship on Tuesdays" }}],
  }}),
}});

const found = await memory("/recall?user_id=dana&q=When+do+we+ship%3F");
console.log(found.prompt_injection);
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    """One language's version."""

    language: str
    label: str
    code: str


def first_steps(base: str, key: str = "", session: str = "hello-1") -> list[Snippet]:
    """Ingest, seal and recall against `base`, in three languages.

    Without a `key` they read the environment variable CAPSULE_API_KEY.
    """
    return [
        Snippet(language, label, text.format(base=base, key=f"{quote}{key}{quote}" if key else unset, session=session))
        for language, label, text, quote, unset in (
            ("bash", "curl", _CURL, "", "$CAPSULE_API_KEY"),
            ("python", "Python", _PYTHON, '"', 'os.environ["CAPSULE_API_KEY"]'),
            ("javascript", "JavaScript", _JAVASCRIPT, '"', "process.env.CAPSULE_API_KEY"),
        )
    ]
