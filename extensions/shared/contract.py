"""A handler's side of the extension handler contract: its files, its settings, and how it tells its status."""

import json
import os
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


class Surroundings:
    """What HandlerEnvironment.json and the environment say."""

    def __init__(self) -> None:
        """Read them; raises OSError, ValueError or KeyError."""
        document = json.loads((HERE / "HandlerEnvironment.json").read_text(encoding="utf-8"))[0]
        folders = document["handlerEnvironment"]
        self.sequence = int(os.environ.get("ConfigSequenceNumber", document["sequenceNumber"]))  # noqa: SIM112 - the contract's name
        self.config = Path(folders["configFolder"])
        self.status_folder = Path(folders["statusFolder"])
        self.log = Path(folders["logFolder"])
        self.heartbeat = Path(folders["heartbeatFile"])
        self.extension = self.log.parent

    def settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return public and protected settings; the latter come, opened, by standard input, and are never stored."""
        file = self.config / f"{self.sequence}.settings"
        handler = json.loads(file.read_text(encoding="utf-8"))["runtimeSettings"][0]["handlerSettings"]
        given = sys.stdin.readline()
        return handler.get("publicSettings") or {}, json.loads(given) if given.strip() else {}

    def tell(self, operation: str, state: str, code: int, message: str, **parts: str) -> None:
        """Write the status: transitioning, success, warning or error; `parts` become substatuses."""
        status = {
            "name": operation,
            "operation": operation,
            "status": state,
            "code": code,
            "formattedMessage": {"lang": "en-US", "message": message},
            "substatus": [
                {"name": name, "status": state, "code": code, "formattedMessage": {"lang": "en-US", "message": text}}
                for name, text in parts.items()
            ],
        }
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write(self.status_folder / f"{self.sequence}.status", [{"version": 1.0, "timestampUTC": now, "status": status}])


def write(path: Path, document: Any) -> None:
    """Replace a JSON file of ours alone in one step."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=str(path.parent))
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file)
    os.replace(temporary, str(path))


def proxy_of(settings: dict[str, Any]) -> str:
    """Return the URL of the proxy that settings.proxy or the environment names, empty for none."""
    given = settings.get("proxy")
    if isinstance(given, dict):
        return str(given.get("address", "")) if given.get("mode", "application") == "application" else ""
    return os.environ.get("HTTPS_PROXY", "")
