"""Proposals name endpoint sets that are nobody else's."""

from typing import Any

from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.observation import Observation
from arcgate.core.proposal import Basis, propose
from arcgate.core.snapshot import Entry, Kind, Snapshot

HERE, THERE = ("/subscriptions/s/resourcegroups/here", "/subscriptions/s/resourcegroups/there")
SEEN = Observation("m", "/machines/m", "deb.example:443", "allowed", "", "Own", "", 1, 2, 3, "then", "now")


def gateway(place: str, *features: str, name: str = "edge") -> dict[str, Any]:
    return {"resourceId": f"{place}/providers/x/gateways/{name}", "tenantId": "t", "allowedFeatures": list(features)}


def group(*features: str) -> dict[str, Any]:
    return {"name": "Edge", "tenantId": "t", "tags": {}, "allowedFeatures": list(features), "mode": "enforce"}


def named_set(name: str, tenant: str = "t") -> dict[str, Any]:
    return {"name": name, "tenantId": tenant, "endpoints": ["x.example"], "allowPrivate": False}


def title(*entries: tuple[Kind, str, dict[str, Any]], for_group: bool = False) -> str:
    """Return the name of the set that is proposed for gateway `gw`, or for its group."""
    snapshot = Snapshot().apply([Entry(kind, key, 1, body) for kind, key, body in entries], 1)
    members = snapshot.machine_groups["/groups/edge"] if for_group else None
    made = propose(
        [SEEN], snapshot.gateways["gw"], members, snapshot, shipped_catalogue(), Basis.EXACT, lambda _: False
    )
    (only,) = made.draft.endpoint_sets
    assert made.draft.allowed_features == (only.name,)
    return only.name


OWN = (Kind.GATEWAY, "gw", gateway(HERE, "learned-edge"))
OWN_SET = (Kind.ENDPOINT_SET, f"{HERE}/providers/y/endpointsets/learned-edge", named_set("learned-edge"))


def test_a_set_that_was_learned_before_is_made_anew() -> None:
    assert title(OWN, OWN_SET) == "learned-edge"


def test_another_gateway_of_the_same_name_keeps_its_set() -> None:
    other = (Kind.GATEWAY, "other", gateway(THERE, "learned-edge"))
    theirs = (Kind.ENDPOINT_SET, f"{THERE}/providers/y/endpointsets/learned-edge", named_set("Learned-Edge"))
    assert title((Kind.GATEWAY, "gw", gateway(HERE, "*")), other) == "learned-edge-2"
    assert title((Kind.GATEWAY, "gw", gateway(HERE, "*")), theirs) == "learned-edge-2"
    strangers = (theirs[0], theirs[1], named_set("learned-edge", "another tenant"))
    assert title((Kind.GATEWAY, "gw", gateway(HERE, "*")), strangers) == "learned-edge"


def test_a_group_of_a_gateways_name_does_not_take_the_gateways_set() -> None:
    assert title(OWN, OWN_SET, (Kind.MACHINE_GROUP, "/groups/edge", group()), for_group=True) == "learned-Edge-2"
    assert title(OWN, OWN_SET, (Kind.MACHINE_GROUP, "/groups/edge", group("learned-edge-private"))) == "learned-edge-2"


def test_a_long_name_leaves_room_for_what_is_added_to_it() -> None:
    assert len(title((Kind.GATEWAY, "gw", gateway(HERE, "*", name="x" * 90)))) + len("-private") <= 90
