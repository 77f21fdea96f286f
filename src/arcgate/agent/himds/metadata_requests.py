"""Requests to the metadata endpoint, read strictly: what they ask for, or why they are refused. Pure.

Everything on the machine can connect to the endpoint, browsers and careless proxies among it. So a request
must name a loopback host, must carry a header that web pages can't set, and must not have been passed on.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import parse_qsl

LONGEST_TARGET = 8192
"""Characters of a request target."""
MOST_PARAMETERS = 20
USER_ASSIGNED = ("client_id", "object_id", "msi_res_id", "mi_res_id")

_ORIGIN_FORM = re.compile(r"/[!-~]*\Z")
_BASIC = re.compile(r"Basic +(?P<content>[A-Za-z0-9_-]{1,4096})\Z", re.IGNORECASE)


class Document(StrEnum):
    """What there is to ask for, by path."""

    TOKEN = "/metadata/identity/oauth2/token"  # noqa: S105 - a path
    INSTANCE = "/metadata/instance"
    ENDPOINTS = "/metadata/endpoints"


VERSIONS: Mapping[Document, tuple[str, ...]] = {
    Document.TOKEN: ("2019-11-01", "2020-06-01"),
    Document.INSTANCE: ("2019-08-15", "2019-11-01", "2020-06-01"),
    Document.ENDPOINTS: ("2019-11-01",),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: status, JSON document and further header fields."""

    status: int
    document: Mapping[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


class Refused(Exception):
    """A request that is not acceptable; `reply` says why."""

    def __init__(self, status: int, code: str, description: str, *headers: tuple[str, str]) -> None:
        super().__init__(description)
        self.reply = refusal(status, code, description, *headers)


@dataclass(frozen=True, slots=True)
class Asked:
    """An acceptable request."""

    document: Document
    resource: str = ""
    bypass_cache: bool = False
    secret: str = field(default="", repr=False)
    """What the client read from a challenge file; empty when it has not."""


def refusal(status: int, code: str, description: str, *headers: tuple[str, str]) -> Reply:
    """Return an answer with an error in OAuth's form."""
    return Reply(status, {"error": code, "error_description": description}, headers)


def read_request(method: str, target: str, fields: Iterable[tuple[str, str]], port: int) -> Asked:
    """Return what a request asks for; `fields` are its header, names in lower case. Raises Refused."""
    header = _Header(fields)
    _require_local(header, port)
    if method != "GET":
        raise Refused(405, "method_not_allowed", "GET is the only method here.", ("Allow", "GET"))
    document, parameters = _read_target(target)
    if header.one("metadata").lower() != "true":
        raise Refused(400, "invalid_request", "The header 'Metadata: true' is missing.")
    _require_version(document, parameters)
    if document is not Document.TOKEN:
        return Asked(document)
    match = _BASIC.match(header.one("authorization"))
    return Asked(document, _resource(parameters), _bypasses(parameters), match["content"] if match else "")


class _Header:
    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._fields = list(fields)

    def one(self, name: str) -> str:
        """Return the only value of a field, empty when it is missing."""
        values = [value for known, value in self._fields if known == name]
        if len(values) > 1:
            raise Refused(400, "invalid_request", f"The header {name!r} stands more than once.")
        return values[0].strip() if values else ""

    def has(self, name: str) -> bool:
        return any(known == name for known, _ in self._fields)


def _require_local(header: _Header, port: int) -> None:
    # A page of http://evil.example:40342 that DNS leads here has its own name in Host.
    if header.one("host").lower() not in {f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}"}:
        raise Refused(403, "forbidden", f"Ask http://localhost:{port}, by that name and port.")
    if header.has("x-forwarded-for") or header.has("forwarded"):
        raise Refused(400, "invalid_request", "Requests that a proxy has passed on are refused.")


def _read_target(target: str) -> tuple[Document, dict[str, str]]:
    if len(target) > LONGEST_TARGET or not _ORIGIN_FORM.match(target):
        raise Refused(400, "invalid_request", "The request target is malformed or too long.")
    path, _, query = target.partition("?")
    known = {str(one): one for one in Document}
    document = known.get(path.lower().rstrip("/"))
    if document is None:
        raise Refused(404, "not_found", f"There is nothing here but {', '.join(known)}.")
    return document, _read_query(query)


def _read_query(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MOST_PARAMETERS)
    except ValueError:
        raise Refused(400, "invalid_request", "The query string is malformed.") from None
    parameters = {name.lower(): value for name, value in pairs}
    if len(parameters) != len(pairs):
        raise Refused(400, "invalid_request", "A query parameter stands more than once.")
    return parameters


def _require_version(document: Document, parameters: Mapping[str, str]) -> None:
    versions = VERSIONS[document]
    if parameters.get("api-version") not in versions:
        text = f"The query parameter api-version must be one of: {', '.join(versions)}."
        raise Refused(400, "invalid_request", text)


def _resource(parameters: Mapping[str, str]) -> str:
    for name in USER_ASSIGNED:
        if name in parameters:
            text = f"This machine has its system-assigned identity alone: leave {name} out."
            raise Refused(400, "invalid_request", text)
    resource = parameters.get("resource", "")
    if not resource:
        raise Refused(400, "invalid_request", "The query parameter resource is missing.")
    return resource


def _bypasses(parameters: Mapping[str, str]) -> bool:
    text = parameters.get("bypass_cache", "false").lower()
    if text not in {"true", "false"}:
        raise Refused(400, "invalid_request", "The query parameter bypass_cache must be true or false.")
    return text == "true"
