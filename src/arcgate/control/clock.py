"""The time as the control plane's parts are given it, so that tests can set it."""

from collections.abc import Callable
from datetime import datetime

Clock = Callable[[], datetime]
"""Returns the current time, aware."""
