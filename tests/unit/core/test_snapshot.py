"""Snapshots: entries build them, in any order and any number of times, and a broken one changes nothing."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.errors import InputError
from arcgate.core.snapshot import Entry, Kind, Snapshot, parse_document

CLOUD = {"domain": "cloud.example", "controlHosts": ["management.cloud.example", "*.his.cloud.example"]}
GATEWAY = {"resourceId": "/g", "tenantId": "t", "allowedFeatures": ["Monitor"]}
MACHINE = {"resourceId": "/m", "tenantId": "t", "gateway": "gw", "revokedSerials": ["ab"]}
MACHINE_GROUP = {
    "name": "Sql",
    "tenantId": "t",
    "tags": {"Role": "sql"},
    "allowedFeatures": ["ArcData"],
    "mode": "audit",
}
CATALOGUE = {"texts": ['[source]\ntitle="t"\ndate=2026-01-01\nedition=1']}
ENDPOINT_SET = {"name": "Own", "tenantId": "t", "endpoints": ["db.corp.example:1433"], "allowPrivate": True}

FULL = [
    Entry(Kind.CLOUD, "cloud", 1, CLOUD),
    Entry(Kind.GATEWAY, "gw", 2, GATEWAY),
    Entry(Kind.MACHINE, "m1", 3, MACHINE),
    Entry(Kind.ENDPOINT_SET, "/set", 4, ENDPOINT_SET),
]


def test_an_empty_snapshot_has_revision_0_and_no_cloud() -> None:
    snapshot = Snapshot()
    assert snapshot.revision == 0
    assert snapshot.cloud is None


def test_entries_become_what_they_tell_of() -> None:
    snapshot = Snapshot().apply(FULL, 4)
    assert snapshot.revision == 4
    assert snapshot.cloud is not None
    assert [host.text for host in snapshot.cloud.control_hosts] == CLOUD["controlHosts"]
    assert snapshot.gateways["gw"].allowed_features == ("Monitor",)
    assert snapshot.machines["m1"].gateway == "gw"
    assert snapshot.machines["m1"].revoked_serials == {"ab"}
    assert snapshot.endpoint_sets["/set"].allow_private


def test_signed_channels_are_allowed_by_true_and_nothing_else() -> None:
    assert not Snapshot().apply(FULL, 4).gateways["gw"].signed_channels
    allowing = Entry(Kind.GATEWAY, "gw", 5, {**GATEWAY, "signedChannels": True})
    assert Snapshot().apply([allowing], 5).gateways["gw"].signed_channels
    for value in ("true", 1, None):
        with pytest.raises(InputError):
            Snapshot().apply([Entry(Kind.GATEWAY, "gw", 5, {**GATEWAY, "signedChannels": value})], 5)


def test_a_group_has_the_machines_of_its_tenant_with_all_its_tags() -> None:
    def group(**tags: str) -> Entry:
        return Entry(Kind.MACHINE_GROUP, "/g", 1, {**MACHINE_GROUP, "tags": tags})

    machine = Entry(Kind.MACHINE, "m", 1, {**MACHINE, "tags": {"ROLE": "sql", "Site": "north"}})
    other = Entry(Kind.MACHINE, "n", 1, {**MACHINE, "tenantId": "u", "tags": {"role": "sql"}})
    for tags, is_in in (
        ({}, True),
        ({"Role": "sql"}, True),
        ({"role": "sql", "site": "north"}, True),
        ({"role": "*"}, True),
        ({"role": "SQL"}, False),
        ({"role": "sql", "site": "south"}, False),
        ({"other": "*"}, False),
    ):
        snapshot = Snapshot().apply([machine, other, group(**tags)], 1)
        one = snapshot.machine_groups["/g"]
        assert one.has(snapshot.machines["m"]) is is_in
        assert not one.has(snapshot.machines["n"])


def test_a_machine_need_not_have_a_gateway_or_revoked_serials() -> None:
    body = {"resourceId": "/m", "tenantId": "t", "gateway": None}
    machine = Snapshot().apply([Entry(Kind.MACHINE, "m", 1, body)], 1).machines["m"]
    assert machine.gateway is None
    assert machine.revoked_serials == frozenset()


@pytest.mark.parametrize(
    ("said", "mode"),
    [({}, "early"), ({"handOver": "off"}, "off"), ({"handOver": "bulk"}, "bulk"), ({"handOver": "of later"}, "off")],
)
def test_a_gateway_has_a_say_in_hand_over_and_an_unknown_word_means_off(said: dict[str, str], mode: str) -> None:
    snapshot = Snapshot().apply([Entry(Kind.GATEWAY, "gw", 1, {**GATEWAY, **said})], 1)
    assert snapshot.gateways["gw"].hand_over == mode


def test_an_entry_without_body_removes_its_key_and_an_older_one_does_not_bring_it_back() -> None:
    snapshot = Snapshot().apply(FULL, 4)
    gone = snapshot.apply([Entry(kind.kind, kind.key, 9, None) for kind in FULL], 9)
    assert (gone.cloud, dict(gone.gateways), dict(gone.machines), dict(gone.endpoint_sets)) == (None, {}, {}, {})
    again = gone.apply(FULL, 4)
    assert again == gone
    assert again.revision == 9


def test_the_newest_entry_of_a_batch_wins_wherever_it_stands() -> None:
    newer = Entry(Kind.GATEWAY, "gw", 7, {**GATEWAY, "allowedFeatures": []})
    for batch in ([*FULL, newer], [newer, *FULL]):
        snapshot = Snapshot().apply(batch, 7)
        assert snapshot.gateways["gw"].allowed_features == ()
        assert snapshot.entries[Kind.GATEWAY, "gw"].revision == 7


def test_a_snapshot_read_from_its_document_is_the_same() -> None:
    snapshot = Snapshot().apply([*FULL, Entry(Kind.MACHINE, "gone", 5, None)], 5)
    document = json.loads(json.dumps(snapshot.to_json()))
    assert Snapshot().apply(*parse_document(document)) == snapshot


def test_applying_does_not_change_the_snapshot_before() -> None:
    before = Snapshot().apply(FULL, 4)
    before.apply([Entry(Kind.GATEWAY, "gw", 5, None)], 5)
    assert "gw" in before.gateways
    with pytest.raises(TypeError):
        before.gateways["x"] = before.gateways["gw"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (Kind.CLOUD, {}),
        (Kind.CLOUD, {**CLOUD, "controlHosts": ["*"]}),
        (Kind.CLOUD, {**CLOUD, "controlHosts": "management.cloud.example"}),
        (Kind.CLOUD, {**CLOUD, "controlHosts": [7]}),
        (Kind.CLOUD, {**CLOUD, "domain": None}),
        (Kind.CLOUD, ["domain"]),
        (Kind.GATEWAY, {}),
        (Kind.GATEWAY, {**GATEWAY, "allowedFeatures": "*"}),
        (Kind.GATEWAY, {**GATEWAY, "allowedFeatures": None}),
        (Kind.GATEWAY, {**GATEWAY, "allowedFeatures": {"*": True}}),
        (Kind.GATEWAY, {**GATEWAY, "allowedFeatures": [["*"]]}),
        (Kind.GATEWAY, {**GATEWAY, "tenantId": None}),
        (Kind.GATEWAY, {**GATEWAY, "handOver": None}),
        (Kind.GATEWAY, "text"),
        (Kind.GATEWAY, 5),
        (Kind.MACHINE, {"resourceId": "/m", "tenantId": "t"}),
        (Kind.MACHINE, {**MACHINE, "gateway": 1}),
        (Kind.MACHINE, {**MACHINE, "revokedSerials": "ab"}),
        (Kind.MACHINE, {**MACHINE, "revokedSerials": [171]}),
        (Kind.MACHINE, {**MACHINE, "revokedSerials": None}),
        (Kind.ENDPOINT_SET, {**ENDPOINT_SET, "endpoints": ["*.com"]}),
        (Kind.ENDPOINT_SET, {**ENDPOINT_SET, "endpoints": "a.example"}),
        (Kind.ENDPOINT_SET, {**ENDPOINT_SET, "allowPrivate": "false"}),
        (Kind.ENDPOINT_SET, {**ENDPOINT_SET, "allowPrivate": 1}),
        (Kind.ENDPOINT_SET, {**ENDPOINT_SET, "allowPrivate": None}),
        (Kind.ENDPOINT_SET, {**ENDPOINT_SET, "name": None}),
        (Kind.GATEWAY, {**GATEWAY, "policy": "audit"}),
        (Kind.GATEWAY, {**GATEWAY, "policy": {"mode": "Audit"}}),
        (Kind.GATEWAY, {**GATEWAY, "policy": {"pins": {"*.blob.example.com": ["other.example.com"]}}}),
        (Kind.GATEWAY, {**GATEWAY, "policy": {"of later": True}}),
        (Kind.MACHINE, {**MACHINE, "tags": ["role"]}),
        (Kind.MACHINE_GROUP, {**MACHINE_GROUP, "tags": None}),
        (Kind.MACHINE_GROUP, {**MACHINE_GROUP, "allowedFeatures": "*"}),
        (Kind.MACHINE_GROUP, {**MACHINE_GROUP, "mode": "off"}),
        (Kind.MACHINE_GROUP, {**MACHINE_GROUP, "limits": {"tunnels": -1}}),
        (Kind.MACHINE_GROUP, {**MACHINE_GROUP, "limits": {"tunnels": True}}),
        (Kind.CATALOGUE, {"texts": ["no TOML ="]}),
        (Kind.CATALOGUE, {"texts": "text"}),
    ],
)
def test_a_broken_entry_is_an_input_error_that_names_it_and_the_old_snapshot_stays(kind: Kind, body: Any) -> None:
    before = Snapshot().apply(FULL, 4)
    good = Entry(Kind.MACHINE, "m2", 5, MACHINE)
    with pytest.raises(InputError) as caught:
        before.apply([good, Entry(kind, "broken", 6, body)], 6)
    assert caught.value.code == "SNAPSHOT_INVALID"
    assert "broken" in caught.value.sentence
    assert "\n" not in caught.value.one_line()
    assert before == Snapshot().apply(FULL, 4)
    assert "m2" not in before.machines


@pytest.mark.parametrize(
    "document",
    [None, 1, "x", [], {}, {"revision": 1}, {"entries": []}, {"revision": "x", "entries": []}, {"revision": 1,
    "entries": [1]},
     {"revision": None, "entries": []}, {"revision": 1, "entries": None}, {"revision": 1, "entries": [{}]},
     {"revision": 1, "entries": [{"kind": "other", "key": "k", "revision": 1, "body": None}]},
     {"revision": 1, "entries": [{"kind": "cloud", "key": "k", "revision": "x", "body": None}]},
     {"revision": 1, "entries": [{"kind": "cloud", "key": "k", "revision": 1}]}],
)  # fmt: skip
def test_a_broken_document_is_an_input_error(document: Any) -> None:
    with pytest.raises(InputError) as caught:
        parse_document(document)
    assert caught.value.code == "SNAPSHOT_INVALID"


def body_of(kind: Kind, number: int) -> dict[str, Any]:
    if kind is Kind.CLOUD:
        return {**CLOUD, "domain": f"cloud{number}.example"}
    if kind is Kind.GATEWAY:
        return {**GATEWAY, "allowedFeatures": [f"Feature{number}"]}
    if kind is Kind.MACHINE:
        return {**MACHINE, "resourceId": f"/m{number}"}
    if kind is Kind.MACHINE_GROUP:
        return {**MACHINE_GROUP, "tags": {"number": str(number)}}
    if kind is Kind.CATALOGUE:
        return {"texts": [f"[source]\ntitle='t'\ndate=2026-01-01\nedition={number}"]}
    return {**ENDPOINT_SET, "allowPrivate": number % 2 == 0}


SINGLE = {Kind.CLOUD: "cloud", Kind.CATALOGUE: "catalogue"}
"""Kinds with one key alone."""


histories = st.lists(
    st.tuples(st.sampled_from(list(Kind)), st.sampled_from(["a", "b"]), st.booleans()), max_size=12
).map(
    lambda rows: [
        Entry(kind, SINGLE.get(kind, key), number, body_of(kind, number) if exists else None)
        for number, (kind, key, exists) in enumerate(rows, 1)
    ]
)


@given(histories, st.integers(0, 12), st.randoms(use_true_random=False))
def test_deltas_in_any_order_and_twice_give_the_same_as_everything_at_once(
    history: list[Entry], cut: int, order: random.Random
) -> None:
    newest = len(history)
    whole = Snapshot().apply(history, newest)
    delta = Snapshot().apply(history[:cut], min(cut, newest)).apply(history[cut:], newest)
    shuffled = list(history)
    order.shuffle(shuffled)
    one_by_one = Snapshot()
    for entry in shuffled:
        one_by_one = one_by_one.apply([entry], entry.revision)
    for other in (delta, one_by_one, Snapshot().apply(shuffled, newest), whole.apply(history, newest)):
        assert other == whole
    assert Snapshot().apply(*parse_document(json.loads(json.dumps(whole.to_json())))) == whole
