"""A session with the control plane: requests with a valid token, pages followed, long operations waited for."""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urlencode

from arcgate.cli.failures import ApiFailure, LoginNeeded
from arcgate.cli.outbound import make_client
from arcgate.cli.profile import Profile, ProfileFolder, Tokens
from arcgate.cli.sign_in import discover_issuer, refresh, to_failure
from arcgate.core.errors import InputError, StateError
from arcgate.core.guids import is_guid
from arcgate.core.urls import parse_url
from arcgate.net.http_client import Answer, HttpClient

HYBRID_COMPUTE = "2026-07-15"
RESOURCES = "2024-11-01"
SUBSCRIPTIONS = "2022-12-01"
AUTHORIZATION = "2022-04-01"
ARCGATE = "2026-11-01"
"""api-versions that we speak."""

OPERATION_TIMEOUT = 600.0
"""Seconds that a long operation is waited for."""
EXPIRY_MARGIN = 60.0
"""Seconds before its end that a token is renewed."""
MOST_TRIES = 4
"""Tries of a request that the control plane is too busy for."""

_SECONDS = re.compile(r"[0-9]{1,4}\Z", re.ASCII)

Result = TypeVar("Result")


@dataclass
class Session:
    """One logged-in operator. Paths are relative to the endpoint; links in answers are followed there alone."""

    folder: ProfileFolder
    profile: Profile
    tokens: Tokens
    client: HttpClient
    clock: Callable[[], float] = time.time
    _renewing: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Two requests at once that renewed one refresh token would lose it."""

    @classmethod
    def open(cls, folder: ProfileFolder | None = None) -> "Session":
        """Return the session of the stored profile; raises LoginNeeded."""
        folder = folder or ProfileFolder.find()
        profile, tokens = folder.load(), folder.load_tokens()
        if not profile.endpoint or not tokens.access_token:
            raise LoginNeeded
        return cls(folder, profile, tokens, make_client(profile.address, profile.ca))

    async def get(self, path: str, version: str, query: Mapping[str, str] | None = None) -> Any:
        """Return a resource; raises ApiFailure."""
        return (await self.send("GET", path, version, query=query)).json()

    async def list_all(
        self, path: str, version: str, query: Mapping[str, str] | None = None, most: int = 0
    ) -> list[Any]:
        """Return the items of all pages, at most `most` of them unless that is 0; raises ApiFailure."""
        items: list[Any] = []
        async for page in self._pages(path, version, query):
            items += page
            if most and len(items) >= most:
                return items[:most]
        return items

    async def put(self, path: str, version: str, body: Any, *, wait: bool = True) -> Any:
        """Create or replace a resource and return it when it is ready; raises ApiFailure."""
        answer = await self.send("PUT", path, version, body=body)
        if wait and await self._wait_for(answer, path, version):
            return await self.get(path, version)
        return answer.json()

    async def delete(
        self, path: str, version: str, query: Mapping[str, str] | None = None, *, wait: bool = True
    ) -> bool:
        """Delete a resource, and say whether there was one; raises ApiFailure."""
        answer = await self.send("DELETE", path, version, query=query)
        if wait:
            await self._wait_for(answer, path, version)
        return answer.status != 204

    async def send(
        self, method: str, path: str, version: str, *, query: Mapping[str, str] | None = None, body: Any = None
    ) -> Answer:
        """Return the answer to a request, if it is a success; raises ApiFailure, LoginNeeded or HopError."""
        url = f"{self.profile.endpoint}{path}?{urlencode({**(query or {}), 'api-version': version}, safe='$')}"
        return await self._send(method, url, body)

    async def token(self) -> Tokens:
        """Return tokens that are valid for a while, renewed and stored if need be."""
        async with self._renewing:
            if self.tokens.expires_at - EXPIRY_MARGIN <= self.clock():
                await self._renew()
            return self.tokens

    async def find_subscription(self, name_or_id: str | None) -> str:
        """Return the id of a subscription given by name or id, or of the current one."""
        if not name_or_id:
            if not self.profile.subscription_id:
                raise InputError(
                    "SubscriptionNeeded",
                    "No subscription is chosen.",
                    remedy="Choose one: arcgate account set --subscription NAME_OR_ID",
                )
            return self.profile.subscription_id
        if is_guid(name_or_id):
            return name_or_id.lower()
        return str((await self.look_up_subscription(name_or_id))["subscriptionId"])

    async def look_up_subscription(self, name_or_id: str) -> dict[str, Any]:
        """Return the subscription of that name or id; raises InputError (SubscriptionNotFound)."""
        known = await self.list_all("/subscriptions", SUBSCRIPTIONS)
        wanted = name_or_id.lower()
        found = [one for one in known if wanted in (one["subscriptionId"].lower(), one["displayName"].lower())]
        if len(found) == 1:
            return dict(found[0])
        names = ", ".join(one["displayName"] for one in known) or "none"
        raise InputError(
            "SubscriptionNotFound",
            f"{'More than one' if found else 'No'} subscription is called {name_or_id!r}.",
            remedy=f"Yours are: {names}.",
        )

    async def _pages(self, path: str, version: str, query: Mapping[str, str] | None) -> AsyncIterator[list[Any]]:
        answer = await self.send("GET", path, version, query=query)
        while True:
            document = answer.json()
            if not isinstance(document, dict) or not isinstance(document.get("value"), list):
                raise StateError("ANSWER_UNREADABLE", "The control plane's answer is not a list.")
            yield document["value"]
            link = document.get("nextLink")
            if not link:
                return
            answer = await self._send("GET", self._ours(str(link)))

    def _ours(self, link: str) -> str:
        """Return a link as a URL of our endpoint: the token goes to nobody else."""
        return f"{self.profile.endpoint}{parse_url(link).path}"

    async def _send(self, method: str, url: str, body: Any = None) -> Answer:
        answer = await self._try(method, url, body)
        for _ in range(MOST_TRIES - 1):
            if answer.status not in {429, 503}:
                break
            await asyncio.sleep(_retry_after(answer, 1))
            answer = await self._try(method, url, body)
        if answer.is_success:
            return answer
        raise to_failure(answer)

    async def _try(self, method: str, url: str, body: Any) -> Answer:
        token = (await self.token()).access_token
        answer = await self._request(method, url, body, token)
        if answer.status == 401:
            # The control plane may have forgotten the token before its time, for example with a restored database.
            async with self._renewing:
                if self.tokens.access_token == token:
                    await self._renew()
            answer = await self._request(method, url, body, self.tokens.access_token)
        return answer

    async def _request(self, method: str, url: str, body: Any, token: str) -> Answer:
        return await self.client.request_json(method, url, body, headers={"Authorization": f"Bearer {token}"})

    async def _renew(self) -> None:
        if not self.tokens.client_secret and not self.tokens.refresh_token:
            raise LoginNeeded("the token has expired")
        tenant = self.profile.tenant_id or "organizations"
        issuer = await discover_issuer(self.client, self.profile.login, tenant)
        try:
            fresh = await refresh(self.client, issuer, self.profile.audience, self.tokens, self.clock())
        except ApiFailure as error:
            # Another command may have renewed them at the same time, and used the refresh token up.
            stored = self.folder.load_tokens()
            if stored.access_token == self.tokens.access_token:
                raise LoginNeeded(f"{error.code}: {error.sentence}") from None
            fresh = stored
        self.tokens = fresh
        self.folder.save_tokens(fresh)

    async def _wait_for(self, answer: Answer, path: str, version: str) -> bool:
        """Wait until the operation that an answer began has ended; say whether there was one to wait for."""
        link = answer.headers.get("azure-asyncoperation")
        if link is None:
            return await self._wait_for_state(answer, path, version)
        async with _operation_timeout():
            while True:
                status = await self._send("GET", self._ours(link))
                document = status.json() if isinstance(status.json(), dict) else {}
                state = str(document.get("status", ""))
                if state == "Succeeded":
                    return True
                if state in {"Failed", "Canceled"}:
                    raise _operation_failure(document, state)
                await asyncio.sleep(_retry_after(status, 1))

    async def _wait_for_state(self, answer: Answer, path: str, version: str) -> bool:
        if answer.status not in {200, 201}:
            return False
        document, waited = answer.json(), False
        async with _operation_timeout():
            while _state_of(document) in {"Accepted", "Creating", "Updating"}:
                waited = True
                await asyncio.sleep(_retry_after(answer, 1))
                document = await self.get(path, version)
        if _state_of(document) in {"Failed", "Canceled"}:
            raise _operation_failure({}, _state_of(document))
        return waited


def _state_of(document: Any) -> str:
    properties = document.get("properties") if isinstance(document, dict) else None
    return str(properties.get("provisioningState", "")) if isinstance(properties, dict) else ""


def _operation_failure(document: Mapping[str, Any], state: str) -> ApiFailure:
    error = document.get("error") if isinstance(document.get("error"), dict) else {}
    assert isinstance(error, dict)
    return ApiFailure(
        409, str(error.get("code") or f"Operation{state}"), str(error.get("message") or "It did not succeed.")
    )


@contextlib.asynccontextmanager
async def _operation_timeout() -> AsyncIterator[None]:
    """asyncio.timeout whose end is an error with a remedy."""
    try:
        async with asyncio.timeout(OPERATION_TIMEOUT):
            yield
    except TimeoutError:
        raise StateError(
            "OPERATION_TIMEOUT",
            f"The operation has not ended in {OPERATION_TIMEOUT:g} s.",
            remedy="Look at the resource with 'show'; --no-wait doesn't wait at all.",
        ) from None


def _retry_after(answer: Answer, default: float) -> float:
    milliseconds = answer.headers.get("x-ms-retry-after-ms", "")
    if _SECONDS.match(milliseconds):
        return max(0.02, int(milliseconds) / 1000)
    seconds = answer.headers.get("retry-after", "")
    return min(30.0, float(seconds)) if _SECONDS.match(seconds) and int(seconds) else default


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a command's asynchronous part."""
    return asyncio.run(work)


def with_subscription(profile: Profile, subscription: Mapping[str, Any]) -> Profile:
    """Return the profile with another current subscription."""
    return replace(
        profile,
        subscription_id=str(subscription["subscriptionId"]),
        subscription_name=str(subscription["displayName"]),
        tenant_id=str(subscription.get("tenantId") or profile.tenant_id),
    )
