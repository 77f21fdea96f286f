"""Stages: a connection's life in parts, each of which returns the next.

A coroutine that waits keeps its frame, and all that the frame names. In stages, what opened a tunnel (parsers, heads,
the first bytes, a dozen frames) is gone while the tunnel is carried, which may be for days. Nothing happens between two
stages, a cancellation neither: what one has begun the next can end.
"""

from collections.abc import Coroutine
from typing import Any

Stage = Coroutine[Any, Any, "Stage | None"]
"""A part of a connection's life; returns the next one, None at the end."""
