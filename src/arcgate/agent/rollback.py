"""Undoing the steps that were made when a later one fails, last step first."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from arcgate.core.errors import ArcgateError

UNDO_TIMEOUT = 30
"""Seconds for each step."""


@dataclass(slots=True)
class Rollback:
    """Steps to undo; each returns whether there was something to undo."""

    _steps: list[tuple[str, Callable[[], Awaitable[bool]]]] = field(default_factory=list)

    def add(self, what: str, undo: Callable[[], Awaitable[bool]]) -> None:
        """Remember how to undo a step that is about to be made; `what` names its result."""
        self._steps.append((what, undo))

    def add_file(self, what: str, remove: Callable[[], None]) -> None:
        """Remember to remove a file of ours."""

        async def undo() -> bool:
            remove()
            return True

        self.add(what, undo)

    async def run(self, tell: Callable[[str], None]) -> bool:
        """Undo everything and tell what was undone; return whether nothing is left over."""
        complete = True
        while self._steps:
            what, undo = self._steps.pop()
            try:
                async with asyncio.timeout(UNDO_TIMEOUT):
                    if await undo():
                        tell(f"Rolled back: {what}")
            except (ArcgateError, OSError, TimeoutError) as error:
                complete = False
                cause = error.one_line() if isinstance(error, ArcgateError) else str(error) or "it took too long"
                tell(f"Not rolled back: {what}. {cause}")
        return complete
