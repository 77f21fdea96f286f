"""Services from files: a package repository as it lies on disk, and git's own program for the other side of HTTPS."""

import os
import subprocess
from pathlib import Path

from worlds.vendor.exchange import NOT_FOUND, Answer, Request, Service


def folder(root: Path) -> Service:
    """Return what serves the files below a folder."""

    def serve(request: Request) -> Answer:
        file = (root / request.path.lstrip("/")).resolve()
        if request.method != "GET" or not file.is_relative_to(root.resolve()) or not file.is_file():
            return NOT_FOUND
        return Answer(200, file.read_bytes(), {"Content-Type": "application/octet-stream"})

    return serve


def repositories(root: Path) -> Service:
    """Return git's own CGI program over the repositories below a folder."""

    def serve(request: Request) -> Answer:
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "198.51.100.1",
            "REMOTE_USER": "somebody",
        }
        argv = ["git", "http-backend"]
        done = subprocess.run(argv, input=request.content, env=environment, capture_output=True, check=True)
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        status = int(fields.pop("Status", "200")[:3])
        return Answer(status, body, fields)

    return serve
