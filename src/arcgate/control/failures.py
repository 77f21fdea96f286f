"""Refusals of the control plane's HTTP interfaces: ARM's error form `{"error": {"code", "message", …}}`."""

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from arcgate.core.errors import ArcgateError


class ApiError(ArcgateError):
    """A refusal with its HTTP status; code and sentence reach the client, cause and remedy in the message."""

    def __init__(
        self,
        status: int,
        code: str,
        sentence: str,
        *,
        remedy: str = "",
        target: str = "",
        details: list[dict[str, Any]] | None = None,
        headers: Mapping[str, str] | None = None,
        **more: Any,
    ) -> None:
        super().__init__(code, sentence, remedy=remedy)
        self.status = status
        self.target = target
        self.details = details or []
        self.headers = dict(headers or {})
        self.more = more
        """Further keys of the error object, such as serverTime."""

    def to_response(self) -> JSONResponse:
        """Return the answer that tells the client."""
        error: dict[str, Any] = {"code": self.code, "message": " ".join(filter(None, (self.sentence, self.remedy)))}
        if self.target:
            error["target"] = self.target
        if self.details:
            error["details"] = self.details
        return JSONResponse({"error": {**error, **self.more}}, self.status, headers=self.headers)


def refuse_input(error: ArcgateError, code: str = "InvalidRequestContent", target: str = "") -> ApiError:
    """Return the 400 that tells a client of malformed input."""
    cause = f" ({error.cause})" if error.cause else ""
    return ApiError(400, code, f"{error.sentence.rstrip('.')}{cause}.", remedy=error.remedy, target=target)
