"""Tells whether one machine's identity is in use twice: by a machine and its clone. Pure.

Each start of the agent's service takes a random instance id and counts its heartbeats. A restart brings a new id, and
the one before never comes again. So an id that comes back after another one, or a count that does not rise, shows that
two services report under one identity. One such sign may be a request that was late; two of them are a conflict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

MOST_KEPT = 4
"""Instances of one machine that are remembered."""
SIGNS = 2
"""Signs within the memory that make a conflict."""
MEMORY = timedelta(hours=1)
"""How long a sign counts at least; with slow heartbeats, six of their intervals."""

CLONED = "MachineCloned"
"""Code of the conflict, in the machine's resource and in the agent's state."""
CLONE_REMEDY = (
    "On the one that is the clone, run 'azcmagent disconnect --force-local-only' and then 'azcmagent connect'."
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a heartbeat says of the service that sent it. The facts help to tell a clone from its original."""

    instance: str
    sequence: int
    host_name: str = ""
    vm_uuid: str = ""


@dataclass(frozen=True, slots=True)
class Instance:
    """One service that was seen under an identity."""

    sighting: Sighting
    first_seen: datetime
    last_seen: datetime

    def to_json(self) -> dict[str, Any]:
        """Return the instance as it is stored and shown."""
        seen = self.sighting
        return {
            "instance": seen.instance,
            "sequence": seen.sequence,
            "hostName": seen.host_name,
            "vmUuid": seen.vm_uuid,
            "firstSeen": self.first_seen.isoformat(),
            "lastSeen": self.last_seen.isoformat(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Instance":
        """Return what `to_json` made."""
        seen = Sighting(
            document["instance"],
            document["sequence"],
            document["hostName"],
            document["vmUuid"],
        )
        first, last = document["firstSeen"], document["lastSeen"]
        return cls(seen, datetime.fromisoformat(first), datetime.fromisoformat(last))


@dataclass(frozen=True, slots=True)
class Instances:
    """The services of one identity, the last one first, with the signs that there are several."""

    seen: tuple[Instance, ...] = ()
    signs: int = 0
    last_sign: datetime | None = None
    conflict_since: datetime | None = None

    @property
    def is_conflict(self) -> bool:
        """Whether two machines use the identity."""
        return self.conflict_since is not None

    def noting(self, sighting: Sighting, now: datetime, memory: timedelta = MEMORY) -> "Instances":
        """Return the state after one more heartbeat."""
        before = self._without_old_signs(now, memory)
        known = next((one for one in before.seen if one.sighting.instance == sighting.instance), None)
        first = known.first_seen if known is not None else now
        others = tuple(one for one in before.seen if one.sighting.instance != sighting.instance)
        after = replace(before, seen=(Instance(sighting, first, now), *others)[:MOST_KEPT])
        came_back = known is not None and known is not before.seen[0]
        counted_twice = known is not None and sighting.sequence <= known.sighting.sequence
        return after._with_sign(now) if came_back or counted_twice else after

    def to_json(self) -> dict[str, Any]:
        """Return the state as it is stored."""
        return {
            "seen": [one.to_json() for one in self.seen],
            "signs": self.signs,
            "lastSign": self.last_sign.isoformat() if self.last_sign else None,
            "conflictSince": self.conflict_since.isoformat() if self.conflict_since else None,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any] | None) -> "Instances":
        """Return what `to_json` made, nothing known for None."""
        if document is None:
            return cls()
        last, since = document["lastSign"], document["conflictSince"]
        return cls(
            tuple(Instance.from_json(one) for one in document["seen"]),
            document["signs"],
            datetime.fromisoformat(last) if last else None,
            datetime.fromisoformat(since) if since else None,
        )

    def _with_sign(self, now: datetime) -> "Instances":
        signs = self.signs + 1
        since = self.conflict_since or (now if signs >= SIGNS else None)
        return replace(self, signs=signs, last_sign=now, conflict_since=since)

    def _without_old_signs(self, now: datetime, memory: timedelta) -> "Instances":
        if self.last_sign is None or now - self.last_sign <= memory:
            return self
        # Only one of them has been heard for long enough: it is the machine now.
        return Instances(self.seen[:1])


def describe_conflict(instances: Instances) -> str:
    """Return a sentence for operators that names the machines in conflict, and one that says what to do."""
    names = ", ".join(_described(one.sighting) for one in instances.seen)
    return f"More than one machine reports under this identity, lately: {names}. {CLONE_REMEDY}"


def _described(one: Sighting) -> str:
    facts = {"VM UUID": one.vm_uuid, "instance": one.instance[:8]}
    details = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    return f"{one.host_name or 'a machine without a name'} ({details})"
