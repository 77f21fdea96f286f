"""GUIDs, as ids of machines, tenants, subscriptions and principals are written."""

import re

GUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
"""The regular expression, for longer ones that hold a GUID; LOWER_GUID is for ids that are compared as they are."""
LOWER_GUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"

_GUID = re.compile(rf"{GUID}\Z")
_LOWER_GUID = re.compile(rf"{LOWER_GUID}\Z")


def is_guid(text: str) -> bool:
    """Say whether the text is a GUID in any case, without braces."""
    return _GUID.match(text) is not None


def is_lower_guid(text: str) -> bool:
    """Say whether the text is a GUID in lower case, without braces."""
    return _LOWER_GUID.match(text) is not None
