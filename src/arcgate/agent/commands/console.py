"""What commands print: lines for people, or one JSON document for programs."""

import json
import sys
from dataclasses import dataclass, field
from typing import Any, TextIO

import structlog

from arcgate.agent.errors import AzcmError

_log = structlog.get_logger(__name__)

BAR = 15
"""Characters of the progress bar."""


@dataclass(slots=True)
class Console:
    """Prints as the common flags say; with -j nothing but JSON goes to standard output."""

    is_json: bool = False
    log_to_stderr: bool = False
    output: TextIO = field(default_factory=lambda: sys.stdout)
    errors: TextIO = field(default_factory=lambda: sys.stderr)

    def line(self, text: str = "") -> None:
        """Print a line of a result; nothing with -j."""
        if not self.is_json:
            self._print(self.output, text)

    def info(self, text: str) -> None:
        """Tell what is going on, here and in the log."""
        _log.info(text)
        self._print(self.errors if self.is_json or self.log_to_stderr else self.output, f"INFO    {text}")

    def progress(self, percent: int) -> None:
        """Show to a person at a terminal how much is done."""
        if not self.is_json and self.output.isatty():
            filled = percent * BAR // 100
            bar = "=" * filled + (">" if filled < BAR else "")
            self._print(self.output, f"{percent:4}% [{bar:<{BAR}}]")

    def document(self, document: Any) -> None:
        """Print the result as JSON."""
        self._print(self.output, json.dumps(document, indent=2, ensure_ascii=False))

    def error(self, error: AzcmError) -> None:
        """Print why the command failed."""
        if self.is_json:
            self.document(
                {
                    "status": "failed",
                    "error": {
                        "code": error.code,
                        "title": error.title,
                        "message": error.sentence,
                        "cause": error.cause,
                        "remedy": error.remedy,
                    },
                }
            )
            return
        self._lines(self.errors if self.log_to_stderr else self.output, error)

    def error_beside(self, error: AzcmError) -> None:
        """Print why the command failed where the output takes nothing: on standard error, as text."""
        self._lines(self.errors, error)

    def _lines(self, stream: TextIO, error: AzcmError) -> None:
        for text in error.lines():
            self._print(stream, text)

    @staticmethod
    def _print(stream: TextIO, text: str) -> None:
        stream.write(text + "\n")
        stream.flush()
