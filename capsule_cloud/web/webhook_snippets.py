"""The copy-paste snippets about webhooks: verify what arrives, and try a handler without us."""

from capsule_cloud.web.snippets import Snippet

_PYTHON = """\
# pip install standardwebhooks fastapi
import os
from fastapi import FastAPI, Request
from standardwebhooks import Webhook

webhook = Webhook(os.environ["CAPSULE_WEBHOOK_SECRET"])
app = FastAPI()

@app.post("/hooks")
async def hook(request: Request):
    # raises unless we signed exactly these bytes, lately
    event = webhook.verify(await request.body(), dict(request.headers))
    if event["type"] == "billing.cap.reached":
        print(event["data"]["sentence"])
    return {}  # any 2xx, within 15 seconds
"""

_NODE = """\
// npm install standardwebhooks express
import express from "express";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.CAPSULE_WEBHOOK_SECRET);
const app = express();

// the raw body: parsed JSON is not what was signed
app.post("/hooks", express.raw({ type: "*/*" }), (request, answer) => {
  const event = webhook.verify(request.body, request.headers);
  if (event.type === "billing.cap.reached") {
    console.log(event.data.sentence);
  }
  answer.sendStatus(204); // any 2xx, within 15 seconds
});
app.listen(9000);
"""

_CURL = """\
# Try your handler without us: sign a body as we do, and send it
body='{"type":"billing.cap.reached","data":{"sentence":"It is"}}'
now=$(date +%s)
key=$(printf %s "${CAPSULE_WEBHOOK_SECRET#whsec_}" | base64 -d \\
  | od -An -vtx1 | tr -d ' \\n')
signature=$(printf %s "msg_1.$now.$body" \\
  | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)
curl http://localhost:9000/hooks \\
  -H "Content-Type: application/json" \\
  -H "webhook-id: msg_1" \\
  -H "webhook-timestamp: $now" \\
  -H "webhook-signature: v1,$signature" \\
  -d "$body"
"""


def verification() -> list[Snippet]:
    """A handler that trusts nobody else, in two languages, and how to try it."""
    return [
        Snippet("python", "Python", _PYTHON),
        Snippet("javascript", "Node", _NODE),
        Snippet("bash", "curl", _CURL),
    ]
