"""Refusals of the token service, in OAuth's form (RFC 6749 section 5.2)."""

from starlette.responses import JSONResponse

from arcgate.core.errors import ArcgateError


class GrantError(ArcgateError):
    """A refusal; the description is what users of the official clients get to read."""

    def __init__(self, code: str, description: str, *, status: int = 400) -> None:
        super().__init__(code, description)
        self.status = status

    def to_response(self) -> JSONResponse:
        """Return the answer that tells the client."""
        headers = {"Retry-After": "60"} if self.status in (429, 503) else {}
        return JSONResponse({"error": self.code, "error_description": self.sentence}, self.status, headers=headers)
