"""The snapshot: the immutable state that a gateway node works from, and the entries that build it.

The control plane publishes entries, each with the revision that wrote it; a node asks for all entries after
the revision it has and applies them. An entry without a body removes its key. Applying an entry twice is
the same as applying it once, and older entries never undo newer ones.

    kind         key                         body
    cloud        "cloud"                     {"domain": str, "controlHosts": [HOST or *.SUFFIX, ...]}
    gateway      gateway prefix              {"resourceId", "tenantId", "allowedFeatures": [str, ...],
                                              "handOver": mode, when the gateway has a say,
                                              "signedChannels": true, where they are allowed}
    machine      machine id (vmId)           {"resourceId", "tenantId", "gateway": prefix or null,
                                              "revokedSerials": [hex, ...]}
    endpointSet  lower-case resource id      {"name", "tenantId", "endpoints": [pattern, ...], "allowPrivate": bool}
    machineGroup lower-case resource id      {"name", "tenantId", "tags": {name: value or "*"},
                                              "allowedFeatures": [str, ...] or null, "mode", "auditedFeatures",
                                              "limits": {"tunnels", "setUpsPerSecond", "bytesPerSecond", "dailyBytes"}}
    catalogue    "catalogue"                 {"texts": [TOML, ...]}, an edition newer than the shipped one

A node that doesn't know a kind refuses the snapshot: it would let through what a group takes away.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeVar

from arcgate.core.catalogue import parse_catalogue
from arcgate.core.errors import InputError
from arcgate.core.hand_over import HandOverMode, parse_mode
from arcgate.core.patterns import EndpointPattern, parse_pattern
from arcgate.core.policy_settings import PLAIN, Mode, PolicySettings, parse_policy

Content = TypeVar("Content")


class Kind(StrEnum):
    """Kinds of snapshot entries."""

    CLOUD = "cloud"
    GATEWAY = "gateway"
    MACHINE = "machine"
    ENDPOINT_SET = "endpointSet"
    MACHINE_GROUP = "machineGroup"
    CATALOGUE = "catalogue"


@dataclass(frozen=True, slots=True)
class Entry:
    """One published fact; `body` is None when the key is gone."""

    kind: Kind
    key: str
    revision: int
    body: Mapping[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Return the entry as it stands in the node API and in the node's snapshot file."""
        return {"kind": self.kind, "key": self.key, "revision": self.revision, "body": self.body}


@dataclass(frozen=True, slots=True)
class Cloud:
    """What a gateway has to know of its own cloud."""

    domain: str
    control_hosts: tuple[EndpointPattern, ...]


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway resource as the nodes see it."""

    prefix: str
    resource_id: str
    tenant_id: str
    allowed_features: tuple[str, ...]
    hand_over: HandOverMode = HandOverMode.EARLY
    """The most that tunnels of this gateway may."""
    signed_channels: bool = False
    """Whether machines whose TLS is opened on the path may sign their requests instead."""
    policy: PolicySettings = PLAIN


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the nodes see it; `gateway` is the prefix that it is associated with."""

    id: str
    resource_id: str
    tenant_id: str
    gateway: str | None
    revoked_serials: frozenset[str]
    tags: frozenset[tuple[str, str]] = frozenset()
    """Names (in lower case) with their values."""


@dataclass(frozen=True, slots=True)
class EndpointSet:
    """Targets of a tenant's own, named in allowedFeatures like a feature."""

    id: str
    name: str
    tenant_id: str
    endpoints: tuple[EndpointPattern, ...]
    allow_private: bool


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """What each machine of a group may have of a node; 0 leaves it to the node's setting."""

    tunnels: int = 0
    set_ups_per_second: int = 0
    bytes_per_second: int = 0
    daily_bytes: int = 0


@dataclass(frozen=True, slots=True)
class MachineGroup:
    """Machines of a tenant that have certain tags, and what they may of what their gateway allows.

    `allowed_features` of None narrows nothing: such a group only limits.
    """

    id: str
    name: str
    tenant_id: str
    tags: frozenset[tuple[str, str]]
    """All of them must be the machine's; no tags at all mean every machine. Values compare exactly; `*` is any."""
    allowed_features: tuple[str, ...] | None
    mode: Mode = Mode.ENFORCE
    audited_features: tuple[str, ...] = ()
    limits: GroupLimits = GroupLimits()

    def has(self, machine: Machine) -> bool:
        """Say whether the machine is in the group."""
        if machine.tenant_id != self.tenant_id:
            return False
        names = {name for name, _ in machine.tags}
        return all(tag in machine.tags or (tag[1] == "*" and tag[0] in names) for tag in self.tags)


def _empty() -> Mapping[Any, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All entries at one revision. Revision 0 is the empty snapshot, under which everything is refused."""

    revision: int = 0
    cloud: Cloud | None = None
    gateways: Mapping[str, Gateway] = field(default_factory=_empty)
    machines: Mapping[str, Machine] = field(default_factory=_empty)
    endpoint_sets: Mapping[str, EndpointSet] = field(default_factory=_empty)
    machine_groups: Mapping[str, MachineGroup] = field(default_factory=_empty)
    catalogue: tuple[str, ...] = ()
    """Texts of a catalogue newer than the shipped one; empty while there is none."""
    entries: Mapping[tuple[Kind, str], Entry] = field(default_factory=_empty)

    def apply(self, entries: Iterable[Entry], revision: int) -> "Snapshot":
        """Return the snapshot after the entries; raises InputError (SNAPSHOT_INVALID) on one that can't be read."""
        news = self._news(entries)
        fresh = list(news.values())
        changed = {
            "gateways": _rebuilt(self.gateways, fresh, Kind.GATEWAY, parse_gateway),
            "machines": _rebuilt(self.machines, fresh, Kind.MACHINE, parse_machine),
            "endpoint_sets": _rebuilt(self.endpoint_sets, fresh, Kind.ENDPOINT_SET, parse_endpoint_set),
            "machine_groups": _rebuilt(self.machine_groups, fresh, Kind.MACHINE_GROUP, parse_machine_group),
        }
        cloud, catalogue = self.cloud, self.catalogue
        for entry in fresh:
            if entry.kind is Kind.CLOUD:
                cloud = None if entry.body is None else _parsed(entry, parse_cloud)
            if entry.kind is Kind.CATALOGUE:
                catalogue = () if entry.body is None else _parsed(entry, parse_catalogue_texts)
        return replace(
            self,
            revision=max(revision, self.revision),
            cloud=cloud,
            catalogue=catalogue,
            entries=MappingProxyType({**self.entries, **news}),
            **changed,
        )

    def _news(self, entries: Iterable[Entry]) -> dict[tuple[Kind, str], Entry]:
        """Return the newest entry of each key, where it is newer than what we have."""
        newest: dict[tuple[Kind, str], Entry] = {}
        for entry in entries:
            key = (entry.kind, entry.key)
            known = newest.get(key) or self.entries.get(key)
            if known is None or known.revision < entry.revision:
                newest[key] = entry
        return newest

    def to_json(self) -> dict[str, Any]:
        """Return the snapshot as a document that `parse_document` reads back."""
        return {"revision": self.revision, "entries": [entry.to_json() for entry in self.entries.values()]}


def parse_document(document: Any) -> tuple[list[Entry], int]:
    """Return entries and revision of a snapshot document; raises InputError (SNAPSHOT_INVALID)."""
    try:
        entries = [
            Entry(Kind(item["kind"]), str(item["key"]), int(item["revision"]), item["body"])
            for item in document["entries"]
        ]
        return entries, int(document["revision"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError("SNAPSHOT_INVALID", "The snapshot can't be read.", cause=repr(error)) from None


def parse_cloud(_key: str, body: Mapping[str, Any]) -> Cloud:
    """Return the cloud entry's content."""
    return Cloud(_text(body["domain"]), tuple(parse_pattern(host) for host in _texts(body["controlHosts"])))


def parse_gateway(prefix: str, body: Mapping[str, Any]) -> Gateway:
    """Return a gateway entry's content."""
    return Gateway(
        prefix,
        _text(body["resourceId"]),
        _text(body["tenantId"]),
        _texts(body["allowedFeatures"]),
        parse_mode(_text(body.get("handOver", HandOverMode.EARLY))),
        policy=parse_policy(body.get("policy")),
        signed_channels=_flag(body.get("signedChannels", False)),
    )


def parse_machine(machine_id: str, body: Mapping[str, Any]) -> Machine:
    """Return a machine entry's content."""
    return Machine(
        machine_id,
        _text(body["resourceId"]),
        _text(body["tenantId"]),
        None if body["gateway"] is None else _text(body["gateway"]),
        frozenset(_texts(body.get("revokedSerials", ()))),
        parse_tags(body.get("tags", {})),
    )


def parse_machine_group(key: str, body: Mapping[str, Any]) -> MachineGroup:
    """Return a machine group entry's content."""
    limits = body.get("limits") or {}
    return MachineGroup(
        key,
        _text(body["name"]),
        _text(body["tenantId"]),
        parse_tags(body["tags"]),
        None if body["allowedFeatures"] is None else _texts(body["allowedFeatures"]),
        Mode(body.get("mode", Mode.ENFORCE)),
        _texts(body.get("auditedFeatures", ())),
        GroupLimits(*(_number(limits.get(name, 0)) for name in LIMIT_NAMES)),
    )


LIMIT_NAMES = ("tunnels", "setUpsPerSecond", "bytesPerSecond", "dailyBytes")
"""Keys of a group's limits, in the order of `GroupLimits`."""


def parse_tags(tags: Any) -> frozenset[tuple[str, str]]:
    """Return tags with their names in lower case, as ARM compares them."""
    if not isinstance(tags, Mapping):
        raise TypeError(f"{tags!r} are no tags")
    return frozenset((_text(name).lower(), _text(value)) for name, value in tags.items())


def parse_catalogue_texts(_key: str, body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the texts of a catalogue entry, which must be readable."""
    texts = _texts(body["texts"])
    parse_catalogue(*texts)
    return texts


def parse_endpoint_set(key: str, body: Mapping[str, Any]) -> EndpointSet:
    """Return an endpoint set entry's content."""
    return EndpointSet(
        key,
        _text(body["name"]),
        _text(body["tenantId"]),
        tuple(parse_pattern(text) for text in _texts(body["endpoints"])),
        _flag(body["allowPrivate"]),
    )


# A policy is not guessed: "*" in place of ["*"], or "false" in place of false, would open what should be closed.
def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise TypeError(f"{value!r} is not a list")
    return tuple(_text(one) for one in value)


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError(f"{value!r} is not a number of at least 0")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


def _rebuilt(known: Mapping[str, Any], fresh: list[Entry], kind: Kind, parse: Any) -> Mapping[str, Any]:
    relevant = [entry for entry in fresh if entry.kind is kind]
    if not relevant:
        return known
    result = dict(known)
    for entry in relevant:
        if entry.body is None:
            result.pop(entry.key, None)
            continue
        result[entry.key] = _parsed(entry, parse)
    return MappingProxyType(result)


def _parsed(entry: Entry, parse: Callable[[str, Mapping[str, Any]], Content]) -> Content:
    try:
        assert entry.body is not None
        return parse(entry.key, entry.body)
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise InputError(
            "SNAPSHOT_INVALID", f"The {entry.kind} entry {entry.key!r} can't be read.", cause=repr(error)
        ) from None
