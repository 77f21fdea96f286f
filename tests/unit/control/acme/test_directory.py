"""What is read of an authority's words."""

from datetime import UTC, datetime, timedelta

import pytest
from acme import messages

from arcgate.control.acme.directory import describe, read_retry_after

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("Sun, 01 Nov 2026 12:02:00 GMT", 120),
        ("Sun, 01 Nov 2026 11:00:00 GMT", 0),
        ("", 0),
        ("-5", 0),
        ("١٢", 0),
        ("9" * 40, 0),
        ("soon", 0),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nothing_else(text: str, seconds: int) -> None:
    assert read_retry_after(text, NOW) == timedelta(seconds=seconds)


def test_a_refusal_names_the_names_and_stays_on_one_line() -> None:
    problem = messages.Error.from_json(
        {
            "type": "urn:ietf:params:acme:error:rejectedIdentifier",
            "detail": "some names\nare not\x20for you",
            "subproblems": [
                {
                    "type": "urn:ietf:params:acme:error:caa",
                    "detail": "forbidden by CAA",
                    "identifier": {"type": "dns", "value": "a.example"},
                }
            ],
        }
    )
    assert describe(problem) == "rejectedIdentifier: some names are not for you; a.example: forbidden by CAA"
