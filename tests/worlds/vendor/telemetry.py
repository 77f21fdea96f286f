"""Stand-ins that take telemetry: logs of a data collection endpoint, OTLP, and a workspace's own collector."""

import base64
import hashlib
import hmac
import json

from worlds.vendor.exchange import NOT_FOUND, Answer, Request, answer_json

WORKSPACE_KEY = base64.b64encode(b"the key of the workspace").decode()
TOKEN = "a-token-of-the-sign-in"


def collection_endpoint(request: Request) -> Answer:
    """Take log rows by the ingestion API (with a token), and metrics by OTLP over HTTP."""
    if request.path == "/v1/metrics":
        request.note["telemetry"] = hashlib.sha256(request.content).hexdigest()
        request.note["holds"] = b"arcgate.test.counter" in request.content
        return Answer(200, b"", {"Content-Type": "application/x-protobuf"})
    if not request.path.startswith("/dataCollectionRules/") or request.method != "POST":
        return NOT_FOUND
    if request.bearer != TOKEN:
        return Answer(401)
    request.note["rows"] = len(json.loads(request.content))
    return Answer(204)


def workspace(request: Request) -> Answer:
    """Take rows by the workspace's own API, signed with the workspace's key."""
    text = "\n".join(
        (
            request.method,
            str(len(request.body)),
            request.headers.get("Content-Type", ""),
            f"x-ms-date:{request.headers.get('x-ms-date', '')}",
            request.path,
        )
    )
    digest = hmac.digest(base64.b64decode(WORKSPACE_KEY), text.encode(), "sha256")
    identity = request.host.partition(".")[0]
    wanted = f"SharedKey {identity}:{base64.b64encode(digest).decode()}"
    if not hmac.compare_digest(request.headers.get("Authorization", ""), wanted):
        return Answer(403)
    request.note["rows"] = len(json.loads(request.content))
    return Answer(200)


def control(request: Request) -> Answer:
    """Answer questions for data collection rules, and take metrics of a resource."""
    if request.method == "POST":
        request.note["rows"] = len(json.loads(request.content)["data"])
    return answer_json({"configurations": []})
