"""Packages on offer, and which of them is for this machine. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from arcgate.core.errors import InputError
from arcgate.core.package_offers import Offer

_VERSION = re.compile(
    r"(?P<numbers>[0-9]{1,6}(?:\.[0-9]{1,6}){1,3})(?:(?P<stage>a|b|rc|\.dev)(?P<count>[0-9]{1,6}))?\Z", re.ASCII
)
_WANTED = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,3}(?:(?:a|b|rc|\.dev)[0-9]{1,6})?\Z", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}\Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_STAGES = {".dev": 0, "a": 1, "b": 2, "rc": 3, None: 4}


def order_of(version: str) -> tuple[tuple[int, ...], int, int]:
    """Return what versions compare by: numbers, then development, alpha, beta, candidate, release.

    Raises InputError (VERSION_INVALID).
    """
    match = _VERSION.match(version)
    if match is None:
        raise InputError("VERSION_INVALID", f"{version[:60]!r} is no version.")
    numbers = tuple(int(part) for part in match["numbers"].split("."))
    padded = numbers + (0,) * (4 - len(numbers))
    return padded, _STAGES[match["stage"]], int(match["count"] or 0)


def parse_offers(document: Any) -> list[Offer]:
    """Return the packages that the host lists, without those of a form that we don't know; raises InputError."""
    listed = document.get("packages") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise InputError("PACKAGES_INVALID", "The packages host's list can't be read.")
    return [offer for one in listed if (offer := _offer(one)) is not None]


def _offer(document: Any) -> Offer | None:
    keys = ("name", "version", "kind", "machine", "libc", "sha256")
    if not isinstance(document, dict) or not all(isinstance(document.get(key), str) for key in keys):
        return None
    offer = Offer(*(document[key] for key in keys))
    forms = ((_NAME, offer.name), (_VERSION, offer.version), (_DIGEST, offer.sha256))
    return offer if all(form.match(text) for form, text in forms) else None


def newest(offers: Iterable[Offer], kind: str, machine: str, libc: str, wanted: str = "") -> Offer | None:
    """Return the newest package of that kind for this machine, of the versions that begin with `wanted`.

    Raises InputError (VERSION_INVALID).
    """
    if wanted and not _WANTED.match(wanted):
        raise InputError("VERSION_INVALID", f"{wanted[:60]!r} is no version.", remedy="Write MAJOR.MINOR, as in 1.2.")
    fitting = [
        one
        for one in offers
        if (one.kind, one.machine, one.libc) == (kind, machine, libc) and _begins_with(one.version, wanted)
    ]
    return max(fitting, key=lambda one: order_of(one.version), default=None)


def _begins_with(version: str, wanted: str) -> bool:
    return not wanted or version == wanted or version.startswith(f"{wanted}.")
