"""The diff of two editions."""

from arcgate.core.catalogue import parse_catalogue
from arcgate.core.catalogue.difference import Change, difference

HEAD = '[source]\ntitle="t"\ndate=2026-01-01\n'


def feature(name: str, *endpoints: str) -> str:
    return f"[features.{name}]\ntitle='t'\npurpose='p'\nendpoints={list(endpoints)}\n"


def scenario(name: str, *endpoints: str) -> str:
    rows = ",".join(f"{{endpoint='{one}',purpose='p',when='w'}}" for one in endpoints)
    return f"[scenarios.{name}]\ntitle='t'\npurpose='p'\nsource='s'\ndate=2026-01-01\nendpoints=[{rows}]\n"


def test_endpoints_that_come_and_go_are_told_by_feature_and_scenario() -> None:
    old = parse_catalogue(HEAD + feature("A", "a.example.com", "b.example.com") + feature("Gone", "g.example.com"))
    new = parse_catalogue(HEAD + feature("A", "b.example.com", "c.example.com") + scenario("S", "s.example.com"))
    assert difference(old, new) == [
        Change("feature", "A", ("c.example.com",), ("a.example.com",)),
        Change("feature", "Gone", (), ("g.example.com",)),
        Change("scenario", "S", ("s.example.com",), ()),
    ]
    assert difference(new, new) == []
