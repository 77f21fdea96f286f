"""What a machine's owner permits: the block list beats the allow list, and settings are named in refusals."""

from typing import Any

import pytest

from arcgate.core.extension_permission import refusal


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({}, ""),
        ({"extensions.enabled": False}, "extensions.enabled"),
        ({"extensions.allowlist": ["contoso/backup"]}, ""),
        ({"extensions.allowlist": ["Contoso/*"]}, ""),
        ({"extensions.allowlist": ["Contoso/Other", "Contoso/Back"]}, "extensions.allowlist"),
        ({"extensions.allowlist": ["Allow/None"]}, "extensions.allowlist"),
        ({"extensions.blocklist": ["Contoso/Backup"], "extensions.allowlist": ["Contoso/Backup"]}, "blocklist"),
        ({"extensions.blocklist": ["Contoso/B*p"]}, "extensions.blocklist"),
        ({"extensions.blocklist": ["Contoso/Other"]}, ""),
        ({"config.mode": "monitor"}, "config.mode"),
        ({"config.mode": "full"}, ""),
    ],
)
def test_a_refusal_names_the_setting(settings: dict[str, Any], named: str) -> None:
    sentence = refusal(settings, "Contoso", "Backup")
    assert bool(sentence) == bool(named)
    assert named in sentence


def test_monitor_mode_allows_what_monitors() -> None:
    assert refusal({"config.mode": "monitor"}, "arcgate", "monitor") == ""


def test_a_point_of_a_pattern_is_a_point() -> None:
    assert refusal({"extensions.blocklist": ["A.B/C"]}, "AxB", "C") == ""
