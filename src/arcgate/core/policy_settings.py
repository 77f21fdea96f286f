"""How a gateway or a machine group applies its policy: enforced or only observed, wildcards pinned, names filled in.

The JSON form, which the API, snapshot entries and drafts share; everything in it may be missing:

    {"mode": "enforce" | "audit", "auditedFeatures": [name, ...], "parameters": {placeholder: [value, ...]},
     "pins": {wildcard: [name, ...]}, "serverName": "off" | "audit" | "enforce"}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from arcgate.core.catalogue import Catalogue
from arcgate.core.catalogue.placeholders import check_parameters
from arcgate.core.errors import InputError
from arcgate.core.names import HostName, parse_host_name
from arcgate.core.patterns import EndpointPattern, parse_pattern

MOST_NAMES = 2000
"""Names in one list of the settings."""


class Mode(StrEnum):
    """Whether what the policy forbids is refused, or let through and recorded."""

    ENFORCE = "enforce"
    AUDIT = "audit"


class ServerNameCheck(StrEnum):
    """What happens when the ClientHello inside a tunnel asks for another name than the CONNECT did."""

    OFF = "off"
    AUDIT = "audit"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """Settings in a form that can't be wrong; `pins` are wildcards with the names that remain of them."""

    mode: Mode = Mode.ENFORCE
    audited_features: tuple[str, ...] = ()
    parameters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    pins: tuple[tuple[str, tuple[HostName, ...]], ...] = ()
    server_name: ServerNameCheck = ServerNameCheck.OFF


PLAIN = PolicySettings()
"""Everything enforced, nothing pinned."""


def parse_policy(document: Any) -> PolicySettings:
    """Return the settings of a JSON document (None: none given); raises InputError (POLICY_INVALID)."""
    if document is None:
        return PLAIN
    try:
        return _parse(document)
    except (TypeError, ValueError, AttributeError, InputError) as error:
        raise InputError(
            "POLICY_INVALID",
            "The policy settings can't be read.",
            cause=str(error),
            remedy="Give mode, auditedFeatures, parameters, pins and serverName, as the reference describes them.",
        ) from None


def check_policy(settings: PolicySettings, catalogue: Catalogue) -> None:
    """Raise InputError (PARAMETER_INVALID) when a placeholder is filled in that the catalogue doesn't know."""
    check_parameters(dict(settings.parameters), catalogue.placeholders)


def render_policy(settings: PolicySettings) -> dict[str, Any]:
    """Return the JSON document of settings, all keys present."""
    return {
        "mode": str(settings.mode),
        "auditedFeatures": list(settings.audited_features),
        "parameters": {name: list(values) for name, values in settings.parameters},
        "pins": {wildcard: list(names) for wildcard, names in settings.pins},
        "serverName": str(settings.server_name),
    }


def _parse(document: Mapping[str, Any]) -> PolicySettings:
    known = {"mode", "auditedFeatures", "parameters", "pins", "serverName"}
    if unknown := set(document) - known:
        raise ValueError(f"unknown: {', '.join(sorted(ascii(name) for name in unknown))}")
    parameters = _mapping(document.get("parameters") or {})
    pins = _mapping(document.get("pins") or {})
    return PolicySettings(
        Mode(document.get("mode") or Mode.ENFORCE),
        tuple(_names(document.get("auditedFeatures") or [])),
        tuple((name, tuple(one.lower() for one in values)) for name, values in sorted(parameters.items())),
        tuple((_wildcard(text).text, _pinned(_wildcard(text), names)) for text, names in sorted(pins.items())),
        ServerNameCheck(document.get("serverName") or ServerNameCheck.OFF),
    )


def _wildcard(text: str) -> EndpointPattern:
    pattern = parse_pattern(text.lower())
    if not isinstance(pattern.host, str) or not pattern.host.startswith("*.") or pattern.text != pattern.host:
        raise ValueError(f"{text!a} is no wildcard of the form *.SUFFIX")
    return pattern


def _pinned(wildcard: EndpointPattern, names: list[str]) -> tuple[HostName, ...]:
    """Return the full names; what has no dot is an account, the first label below the wildcard's suffix."""
    suffix = str(wildcard.host)[1:]
    hosts = [parse_host_name(name if "." in name else name + suffix) for name in names]
    for host in hosts:
        if not host.endswith(suffix):
            raise ValueError(f"{host} does not lie below {wildcard.text}")
    return tuple(dict.fromkeys(hosts))


def _mapping(value: Any) -> dict[str, list[str]]:
    if not isinstance(value, Mapping):
        raise TypeError("parameters and pins are objects")
    return {str(key): _names(values) for key, values in value.items()}


def _names(value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        raise TypeError("names stand in a list")
    if len(value) > MOST_NAMES:
        raise ValueError(f"a list has at most {MOST_NAMES} names")
    return list(value)
