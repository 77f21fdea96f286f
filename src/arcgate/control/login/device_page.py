"""The page /devicelogin: enter the code, sign in, see who asks for what, confirm or deny.

It works without scripts. What the browser carries between the steps is one sealed cookie that lives for ten
minutes; each form repeats a token from inside it, so no other site can send the form.
"""

import hmac
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from arcgate.control.bodies import read_body
from arcgate.control.context import ControlContext
from arcgate.control.login.codes import approve_code, deny_code, find_pending, normal_code, shown_code
from arcgate.control.login.failures import GrantError
from arcgate.control.login.forms import address_limit, client_address, read_form
from arcgate.control.login.secrets import is_password
from arcgate.control.store.models import DeviceCode, Principal, Tenant
from arcgate.core.audit import printable
from arcgate.core.errors import StateError

COOKIE = "__Host-arcgate-device"
SESSION_SECONDS = 600
LARGEST_FORM = 8 * 1024

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

KNOWN_CLIENTS = {
    "04b07795-8ddb-461a-bbee-02f9e1bf7b46": "Azure CLI",
    "1950a258-227b-4e31-a9cf-717495945fc2": "Azure PowerShell",
    "arcgate-cli": "the arcgate command",
    "azcmagent": "azcmagent, on a machine that is being connected",
}

_PURPOSE = "device-page"
_SEALED = re.compile(r"[0-9a-f]{2,4000}\Z")

_templates = Environment(
    loader=PackageLoader("arcgate.control.login", "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
)


@dataclass(frozen=True, slots=True)
class Session:
    """What the cookie holds: the form token, and how far the person has come."""

    token: str
    expires: float
    code: str = ""
    principal_id: str = ""


def endpoint(context: ControlContext) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of the page."""

    async def handle(request: Request) -> Response:
        return await DevicePage(context, request).answer()

    return handle


class DevicePage:
    """One request to the page."""

    def __init__(self, context: ControlContext, request: Request) -> None:
        self._context = context
        self._request = request
        self._address = client_address(request)
        self._throttle = context.throttle
        self._now = context.clock()

    async def answer(self) -> Response:
        """Answer the request with the step that comes next."""
        if self._request.method in ("GET", "HEAD"):
            typed = normal_code(self._request.query_params.get("user_code", ""))
            return self._page("code.html", self._fresh(), code=shown_code(typed) if typed else "", problem="")
        session = self._session()
        try:
            form = read_form(await read_body(self._request, LARGEST_FORM))
        except GrantError:
            return self._start_again("The form could not be read.")
        if session is None or not hmac.compare_digest(form.get("token", "").encode(), session.token.encode()):
            return self._start_again("The page was open for too long, or the form came from somewhere else.")
        steps = {"code": self._take_code, "password": self._take_password, "answer": self._take_answer}
        step = steps.get(form.get("step", ""))
        return await step(session, form) if step is not None else self._start_again("")

    async def _take_code(self, session: Session, form: dict[str, str]) -> Response:
        key = f"code-address:{self._address}"
        if not self._throttle.allows(self._now, key, address_limit(self._address)):
            return self._too_many()
        code = normal_code(form.get("code", ""))
        found = await find_pending(self._context, code) if code else None
        if found is None:
            self._throttle.failed(self._now, key)
            return self._page(
                "code.html", session, 400, code="", problem="There is no such code. It may have expired or been used."
            )
        return self._page("password.html", replace(session, code=code, principal_id=""), user="", problem="")

    async def _take_password(self, session: Session, form: dict[str, str]) -> Response:
        user = form.get("user", "").strip().lower()[:300]
        by_user, by_address = f"user:{user}", f"address:{self._address}"
        may_try = self._throttle.allows(self._now, by_user)
        if not may_try or not self._throttle.allows(self._now, by_address, address_limit(self._address)):
            return self._too_many()
        code = await find_pending(self._context, session.code)
        if code is None:
            return self._start_again("The code has expired or was used.")
        principal = await self._find_user(user, code.tenant_id)
        fits = await is_password(principal.secret_hash if principal else None, form.get("password", "")[:1000])
        if principal is None or not fits:
            self._throttle.failed(self._now, by_user, by_address)
            problem = "User or password is not right."
            return self._page("password.html", session, 400, user=user, problem=problem)
        self._throttle.succeeded(by_user)
        signed_in = replace(session, principal_id=principal.id, token=secrets.token_urlsafe(24))
        return await self._confirm(signed_in, code, principal)

    async def _confirm(self, session: Session, code: DeviceCode, principal: Principal) -> Response:
        async with self._context.store.read() as database:
            tenant = await database.get_one(Tenant, principal.tenant_id)
        minutes = max(0, int((self._context.clock() - code.created_at).total_seconds() // 60))
        return self._page(
            "confirm.html",
            session,
            client=KNOWN_CLIENTS.get(code.client_id.lower(), ""),
            client_id=printable(code.client_id, 100),
            resource=code.audience,
            address=code.address,
            own_address=self._address,
            age="less than a minute ago" if minutes == 0 else f"{minutes} min ago",
            code=shown_code(code.user_code),
            tenant=tenant.display_name,
            tenant_id=tenant.id,
            user=principal.login,
        )

    async def _take_answer(self, session: Session, form: dict[str, str]) -> Response:
        code = await find_pending(self._context, session.code)
        async with self._context.store.read() as database:
            principal = await database.get(Principal, session.principal_id) if session.principal_id else None
        if code is None or principal is None or not principal.is_enabled:
            return self._start_again("The code has expired or was used.")
        if code.tenant_id not in (None, principal.tenant_id):
            return self._start_again("The code has expired or was used.")
        if form.get("answer") == "confirm":
            done = await approve_code(self._context, code.user_code, principal.id, principal.tenant_id)
            return self._end(confirmed=True) if done else self._start_again("The code was used meanwhile.")
        await deny_code(self._context, code.user_code, principal.tenant_id)
        return self._end(confirmed=False)

    async def _find_user(self, user: str, tenant_id: str | None) -> Principal | None:
        statement = select(Principal).where(
            Principal.login == user,
            Principal.kind == "User",
            Principal.is_enabled.is_(True),
        )
        if tenant_id is not None:
            statement = statement.where(Principal.tenant_id == tenant_id)
        async with self._context.store.read() as session:
            return (await session.execute(statement)).scalar_one_or_none()

    def _fresh(self) -> Session:
        return Session(secrets.token_urlsafe(24), self._context.clock().timestamp() + SESSION_SECONDS)

    def _session(self) -> Session | None:
        text = self._request.cookies.get(COOKIE, "")
        if not _SEALED.match(text):
            return None
        try:
            content = self._context.sealer.open(bytes.fromhex(text), _PURPOSE)
        except (StateError, ValueError):
            return None
        session = Session(**json.loads(content))
        return session if session.expires > self._context.clock().timestamp() else None

    def _start_again(self, problem: str) -> Response:
        return self._page("code.html", self._fresh(), 400, code="", problem=problem)

    def _too_many(self) -> Response:
        problem = "Too many attempts. Wait some minutes, then try again."
        response = self._page("code.html", self._fresh(), 429, code="", problem=problem)
        response.headers["Retry-After"] = "300"
        return response

    def _page(self, template: str, session: Session, status: int = 200, **values: Any) -> Response:
        text = _templates.get_template(template).render(
            cloud=self._context.configuration.cloud.name, token=session.token, **values
        )
        response = HTMLResponse(text, status, headers=HEADERS)
        sealed = self._context.sealer.seal(json.dumps(asdict(session)).encode(), _PURPOSE)
        response.set_cookie(
            COOKIE, sealed.hex(), max_age=SESSION_SECONDS, secure=True, httponly=True, samesite="strict"
        )
        return response

    def _end(self, *, confirmed: bool) -> Response:
        text = _templates.get_template("end.html").render(
            cloud=self._context.configuration.cloud.name, confirmed=confirmed
        )
        response = HTMLResponse(text, headers=HEADERS)
        response.delete_cookie(COOKIE, secure=True, httponly=True, samesite="strict")
        return response
