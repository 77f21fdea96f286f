"""PAC files: JavaScript that says which proxies a request takes. Run apart, with bounds for time, memory and stack.

The engine (QuickJS) has no files, no network and no clock but the time of day. Names that a file wants to resolve are
looked up by our own resolver between two runs.
"""

import contextlib
import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from arcgate.core.errors import InputError, StateError
from arcgate.core.names import Target
from arcgate.core.urls import Url, parse_url

LARGEST_FILE = 1024 * 1024
MEMORY = 32 * 1024 * 1024
STACK = 256 * 1024
TIME = 0.5
"""Seconds of processor time for one question."""
MOST_NAMES = 32
"""Names that one question may have resolved."""
MOST_CHOICES = 16
_ELSEWHERE = ("192.0.2.1", "10.0.0.0", "172.16.0.0", "192.168.0.0")
"""By the default route, or one of a private network where there is none."""

_CHOICE = re.compile(r"(?P<kind>[A-Za-z0-9]{1,10})(?:[ \t]+(?P<place>[A-Za-z0-9._:\[\]-]{1,300}))?\Z")
_SCHEMES = {"PROXY": "http", "HTTP": "http", "HTTPS": "https"}


@dataclass(frozen=True, slots=True)
class PacAnswer:
    """What a file says: proxies in order, None for a direct connection; or the names that it must know first."""

    choices: tuple[Url | None, ...] = ()
    missing: tuple[str, ...] = ()


class PacFile:
    """A PAC file; raises StateError (PAC_UNUSABLE) when it can't be used. Each question gets an engine of its own."""

    def __init__(self, script: str) -> None:
        if len(script) > LARGEST_FILE:
            raise _unusable("it is too large", "Make it smaller: a thousand rules are some 100 KB.")
        if "\0" in script:
            raise _unusable("it holds NUL characters", "Save it as UTF-8; it may be UTF-16.")
        self._script = script
        self._ask('typeof FindProxyForURL === "function" ? "" : (function () { throw "no FindProxyForURL" })()')

    def find(self, target: Target, known: Mapping[str, str | None], address: str = "127.0.0.1") -> PacAnswer:
        """Return the file's answer for a target, given addresses of names; raises StateError (PAC_UNUSABLE).

        None is a name without an address; `address` is the machine's own one, for files that ask. Takes `TIME` at most.
        """
        scheme = "http" if target.port == 80 else "https"
        # Paths are nobody's business: browsers leave them out of https URLs as well.
        host = str(target.host)
        url = f"{scheme}://{target.authority.removesuffix(':443').removesuffix(':80')}/"
        arguments = ", ".join(json.dumps(one) for one in (json.dumps(dict(known)), address, url, host))
        document = json.loads(self._ask(f"__find({arguments})"))
        missing = tuple(dict.fromkeys(str(name) for name in document["missing"]))[:MOST_NAMES]
        return PacAnswer(missing=missing) if missing else PacAnswer(parse_choices(document["found"]))

    def _ask(self, question: str) -> str:
        quickjs = _engine()
        context = quickjs.Context()
        context.set_memory_limit(MEMORY)
        context.set_max_stack_size(STACK)
        context.set_time_limit(TIME)
        try:
            context.eval(_library())
            context.eval(self._script)
            return str(context.eval(question))
        except quickjs.JSException as error:
            cause = " ".join(str(error).split())[:200]
            raise _unusable(cause, "Correct the file; it has half a second and 32 MB.") from None


def parse_choices(answer: str) -> tuple[Url | None, ...]:
    """Return the proxies that FindProxyForURL's answer names; raises StateError when it names none that we can use."""
    choices: list[Url | None] = []
    for part in answer.split(";")[:MOST_CHOICES]:
        match = _CHOICE.match(part.strip())
        if match is None:
            continue
        kind = match["kind"].upper()
        if kind == "DIRECT":
            choices.append(None)
        elif kind in _SCHEMES and match["place"]:
            try:
                choices.append(parse_url(f"{_SCHEMES[kind]}://{match['place']}"))
            except InputError:
                continue
    if not choices:
        raise _unusable(f"it answers {answer[:100]!a}", "We take PROXY, HTTPS and DIRECT; SOCKS is not supported.")
    return tuple(choices)


def own_address() -> str:
    """Return the IPv4 address that this machine shows to others, 127.0.0.1 without a network; nothing is sent."""
    for place in _ELSEWHERE:
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.connect((place, 9))
            return str(asking.getsockname()[0])
    return "127.0.0.1"


def _library() -> str:
    return files("arcgate.net").joinpath("pac.js").read_text(encoding="utf-8")


def _engine() -> Any:
    try:
        import quickjs  # an extra: most machines need no JavaScript
    except ImportError:
        raise _unusable(
            "this agent has no JavaScript engine (quickjs-ng)", "Install arcgate[pac], or set proxy.url instead."
        ) from None
    return quickjs


def _unusable(cause: str, remedy: str) -> StateError:
    return StateError(
        "PAC_UNUSABLE", "The PAC file of the setting proxy.pac can't be used.", cause=cause, remedy=remedy
    )
