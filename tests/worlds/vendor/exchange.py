"""Requests and answers of the stand-ins, and the note that each exchange leaves."""

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """One request; the body as the client meant it, out of its gzip."""

    method: str
    host: str
    path: str
    query: str
    headers: Message
    body: bytes
    note: dict[str, Any] = field(default_factory=dict)
    """What the service adds to the note of the exchange."""

    @classmethod
    def of(cls, method: str, target: str, headers: Message, body: bytes) -> "Request":
        parts = urlsplit(target)
        return cls(method, headers.get("Host", "").partition(":")[0], parts.path, parts.query, headers, body)

    @property
    def content(self) -> bytes:
        return gzip.decompress(self.body) if self.headers.get("Content-Encoding") == "gzip" else self.body

    @property
    def bearer(self) -> str:
        """The token of the Authorization field, empty without one."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token if scheme == "Bearer" else ""

    @property
    def form(self) -> Mapping[str, str]:
        return {name: values[0] for name, values in parse_qs(self.content.decode()).items()}


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Service = Callable[[Request], Answer]
"""What stands behind a name."""


def answer_json(document: Any, status: int = 200, **headers: str) -> Answer:
    """Return a document as an answer; underscores in the fields' names are hyphens."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json", **fields})


NOT_FOUND = Answer(404)
