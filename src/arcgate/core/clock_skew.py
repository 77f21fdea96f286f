"""A machine's clock that differs from the server's: from when on it is worth a word, and the word. Pure."""

NOTICEABLE_SKEW = 60.0
"""Seconds. Assertions are corrected by the server's time; certificates and tokens of others are judged by the clock."""


def describe_skew(offset: float) -> str:
    """Return a sentence for a server's clock that is `offset` seconds ahead, and one that says what to do."""
    direction = "slow" if offset > 0 else "fast"
    return f"The machine's clock is {_duration(abs(offset))} {direction}. Set it, and see that it is kept by NTP."


def _duration(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
