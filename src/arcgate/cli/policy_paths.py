"""Requests about the policy of a subscription."""

from collections.abc import Mapping
from typing import Any

from arcgate.cli.session import ARCGATE, Session


async def policy_path(session: Session, subscription: str | None, name: str) -> str:
    """Return the path of a question about the policy."""
    return f"/subscriptions/{await session.find_subscription(subscription)}/providers/Arcgate.Network/{name}"


async def ask(
    method: str, name: str, subscription: str | None, body: Any = None, query: Mapping[str, str] | None = None
) -> Any:
    """Return the document that answers a question about the policy; raises ApiFailure."""
    session = Session.open()
    path = await policy_path(session, subscription, name)
    return (await session.send(method, path, ARCGATE, query=query, body=body)).json()
