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
  -H "Content-Type: application/json" -d '{{}}'

# Recall it
curl -G {base}/api/v1/recall \\
  -H "Authorization: Bearer {key}" \\
  -d user_id=dana --data-urlencode "q=When do we ship?"
"""

_PYTHON = """\
# pip install httpx
import httpx

memory = httpx.Client(
    base_url="{base}/api/v1",
    headers={{"Authorization": "Bearer {key}"}},
)
memory.post("/sessions/{session}/ingest", json={{
    "user_id": "dana",
    "user_message": "We ship on Tuesdays.",
    "assistant_response": "Noted: Tuesdays.",
}})
memory.post("/sessions/{session}/seal", json={{}})

found = memory.get("/recall", params={{
    "user_id": "dana", "q": "When do we ship?",
}})
print(found.json()["prompt_injection"])
"""

_JAVASCRIPT = """\
const memory = (path, options = {{}}) =>
  fetch("{base}/api/v1" + path, {{
    ...options,
    headers: {{
      Authorization: "Bearer {key}",
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
await memory("/sessions/{session}/seal", {{ method: "POST", body: "{{}}" }});

const found = await memory("/recall?user_id=dana&q=When+do+we+ship%3F");
console.log(found.prompt_injection);
"""


@dataclass(frozen=True, slots=True)
class Snippet:
    """One language's version."""

    language: str
    label: str
    code: str


def first_steps(base: str, key: str = "$CAPSULE_API_KEY", session: str = "hello-1") -> list[Snippet]:
    """Ingest, seal and recall against `base`, in three languages. `key` is what stands where the API key goes."""
    return [
        Snippet(language, label, text.format(base=base, key=key, session=session))
        for language, label, text in (
            ("bash", "curl", _CURL),
            ("python", "Python", _PYTHON),
            ("javascript", "JavaScript", _JAVASCRIPT),
        )
    ]
