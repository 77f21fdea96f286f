"""CustomScript: downloads files and runs one command, once for each change of its settings.

Settings, public or protected (a protected one counts): `commandToExecute`, or `script` (base64 of a shell script);
`fileUris`; public only: `proxy`, `caFile`. The command is written into a file and run by /bin/sh, so that it stands in
no process list; addresses of files are never told with their queries, which may hold keys.
"""

import base64
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from contract import Surroundings, proxy_of

LARGEST_FILE = 1024 * 1024 * 1024
"""Bytes of a downloaded file."""
DOWNLOAD_TIMEOUT = 60
"""Seconds without a byte of a download."""
KEPT_OUTPUT = 1500
"""Bytes at the end of each output that the status shows."""
CHUNK = 256 * 1024

_NAME = re.compile(r"(?!\.)[A-Za-z0-9._ ()+-]{1,200}\Z")


class Refusal(Exception):
    """The settings ask for something that can't be done; the text names no secret."""


def main(command: str) -> int:
    """Run a command of the contract and return its exit code."""
    here = Surroundings()
    if command == "enable":
        return enable(here)
    if command == "uninstall":
        shutil.rmtree(str(here.extension / "download"), ignore_errors=True)
        marker(here).unlink(missing_ok=True)
    return 0


def marker(here: Surroundings) -> Path:
    """Return the file with the number of the settings that were last begun with."""
    return here.extension / "last-sequence"


def enable(here: Surroundings) -> int:
    """Run what the settings say, unless it was begun with already."""
    public, protected = here.settings()
    if begun(here) >= here.sequence:
        status = here.status_folder / f"{here.sequence}.status"
        if not status.exists():
            here.tell("Enable", "success", 0, "The command was run before, and is not run again.")
        elif '"transitioning"' in status.read_text(encoding="utf-8"):
            here.tell("Enable", "error", 1, "The command was interrupted, and is not run again for the same settings.")
        return 0
    # Before the command, so that what brings the machine down is not begun with again and again.
    marker(here).write_text(str(here.sequence), encoding="ascii")
    here.tell("Enable", "transitioning", 0, "The command is being prepared.")
    try:
        run(here, public, protected)
    except Refusal as error:
        here.tell("Enable", "error", 1, str(error))
    except OSError as error:
        here.tell("Enable", "error", 1, f"The machine refused: {error.strerror or type(error).__name__}.")
    return 0


def begun(here: Surroundings) -> int:
    """Return the number of the settings that were last begun with."""
    try:
        return int(marker(here).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return -1


def run(here: Surroundings, public: dict[str, Any], protected: dict[str, Any]) -> None:
    """Download the files, run the command among them, and tell what came of it."""
    text = command_of(public, protected)
    folder = here.extension / "download" / str(here.sequence)
    shutil.rmtree(str(folder.parent), ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    uris = uris_of(protected) + uris_of(public)
    opener = opener_of(public)
    for number, uri in enumerate(uris, start=1):
        here.tell("Enable", "transitioning", 0, f"File {number} of {len(uris)} is being downloaded.")
        download(opener, uri, folder)
    here.tell("Enable", "transitioning", 0, "The command is running.")
    script = folder / ".command"
    descriptor = os.open(str(script), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)
    code, out, err = carry_out(script, folder, os.environ)
    script.unlink(missing_ok=True)
    state = "success" if code == 0 else "error"
    here.tell("Enable", state, code, f"The command ended with exit code {code}.", StdOut=out, StdErr=err)


def command_of(public: dict[str, Any], protected: dict[str, Any]) -> bytes:
    """Return the shell script to run."""
    found = []
    for settings in (protected, public):
        if isinstance(settings.get("commandToExecute"), str) and settings["commandToExecute"].strip():
            found.append(settings["commandToExecute"].encode() + b"\n")
        if isinstance(settings.get("script"), str) and settings["script"]:
            try:
                found.append(base64.b64decode(settings["script"], validate=True))
            except ValueError:
                raise Refusal("The setting script is not in base64.") from None
    if len(found) != 1:
        raise Refusal("Give exactly one of commandToExecute and script, in settings or in protectedSettings.")
    return found[0]


def uris_of(settings: dict[str, Any]) -> list[str]:
    """Return the setting fileUris."""
    uris = settings.get("fileUris") or []
    if not isinstance(uris, list) or not all(isinstance(uri, str) for uri in uris):
        raise Refusal("The setting fileUris is no list of texts.")
    return uris


def opener_of(public: dict[str, Any]) -> urllib.request.OpenerDirector:
    """Return what opens URLs, through the proxy of the settings."""
    proxy = proxy_of(public)
    context = ssl.create_default_context()
    if public.get("caFile"):
        try:
            context.load_verify_locations(str(public["caFile"]))
        except (OSError, ssl.SSLError):
            raise Refusal("The file of the setting caFile can't be used.") from None
    proxies = urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {})
    return urllib.request.build_opener(proxies, urllib.request.HTTPSHandler(context=context))


def download(opener: urllib.request.OpenerDirector, uri: str, folder: Path) -> None:
    """Put a file into the folder, by the last part of its path."""
    parts = urlsplit(uri)
    name = unquote(parts.path).rpartition("/")[2]
    shown = f"{parts.scheme}://{parts.hostname}{parts.path}"[:300]
    if parts.scheme not in ("http", "https") or not _NAME.match(name):
        raise Refusal(f"{shown} is no http or https address of a file with a plain name.")
    try:
        with opener.open(uri, timeout=DOWNLOAD_TIMEOUT) as answer, open(folder / name, "xb") as file:
            size = 0
            while chunk := answer.read(CHUNK):
                size += len(chunk)
                if size > LARGEST_FILE:
                    raise Refusal(f"{shown} has more than {LARGEST_FILE} bytes.")
                file.write(chunk)
        (folder / name).chmod(0o700)
    except urllib.error.HTTPError as error:
        raise Refusal(f"{shown} can't be downloaded: HTTP {error.code}.") from None
    except FileExistsError:
        raise Refusal(f"fileUris names two files {name}.") from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise Refusal(f"{shown} can't be downloaded: {str(reason).replace(uri, shown)[:300]}.") from None


class Tail(threading.Thread):
    """Reads a pipe to its end, and keeps the end of what came."""

    def __init__(self, pipe: Any) -> None:
        """Begin to read."""
        super().__init__(daemon=True)
        self.pipe = pipe
        self.kept = b""
        self.start()

    def run(self) -> None:
        """See threading.Thread."""
        while data := os.read(self.pipe.fileno(), CHUNK):
            self.kept = (self.kept + data)[-KEPT_OUTPUT:]

    def text(self) -> str:
        """Return it, without waiting long for programs that go on in the background."""
        self.join(2)
        return self.kept.decode("utf-8", errors="replace")


def carry_out(script: Path, folder: Path, environment: Any) -> "tuple[int, str, str]":
    """Run the script and return its exit code and the ends of its outputs."""
    process = subprocess.Popen(  # noqa: S603 - that is what this extension is for
        ["/bin/sh", str(script)],
        cwd=str(folder),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = Tail(process.stdout), Tail(process.stderr)
    code = process.wait()
    return code, out.text(), err.text()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
