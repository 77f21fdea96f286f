"""`arcgate account`: the login and its subscriptions; `arcgate device`: logins that wait for an approval."""

from datetime import UTC, datetime

import click

from arcgate.cli.login_commands import SUBSCRIPTION_COLUMNS, mark_default
from arcgate.cli.output import at, output_option, show, show_list
from arcgate.cli.session import ARCGATE, SUBSCRIPTIONS, Session, run, with_subscription
from arcgate.core.errors import InputError


@click.group("account")
def account_group() -> None:
    """The login, and the subscription that commands work in."""


@account_group.command("show")
@output_option
def show_account(form: str | None) -> None:
    """Show who is logged in where, and the current subscription."""
    profile = Session.open().profile
    document = {
        "endpoint": profile.endpoint,
        "id": profile.subscription_id,
        "name": profile.subscription_name,
        "tenantId": profile.tenant_id,
        "user": {"name": profile.user, "type": profile.user_type},
    }
    columns = {"ENDPOINT": at("endpoint"), "NAME": at("name"), "SUBSCRIPTION": at("id"), "USER": at("user", "name")}
    show(document, form, columns)


@account_group.command("list")
@output_option
def list_accounts(form: str | None) -> None:
    """List the subscriptions that you may see."""
    session = Session.open()
    found = run(session.list_all("/subscriptions", SUBSCRIPTIONS))
    show_list([mark_default(one, session.profile) for one in found], form, SUBSCRIPTION_COLUMNS)


@account_group.command("set")
@click.option("-s", "--subscription", required=True, metavar="NAME_OR_ID", help="The subscription to work in.")
def set_account(subscription: str) -> None:
    """Choose the subscription that commands work in."""
    session = Session.open()
    found = run(session.look_up_subscription(subscription))
    session.folder.save(with_subscription(session.profile, found))


@account_group.command("get-access-token")
@output_option
def get_access_token(form: str | None) -> None:
    """Print an access token for the API, renewed if need be."""
    session = Session.open()
    tokens = run(session.token())
    document = {
        "accessToken": tokens.access_token,
        "expiresOn": datetime.fromtimestamp(tokens.expires_at, UTC).isoformat(timespec="seconds"),
        "expires_on": int(tokens.expires_at),
        "subscription": session.profile.subscription_id,
        "tenant": session.profile.tenant_id,
        "tokenType": "Bearer",
    }
    show(document, form, {"TOKEN": at("accessToken")})


@click.group("device")
def device_group() -> None:
    """Device codes: logins that wait on another device."""


@device_group.command("approve")
@click.argument("user_code")
def approve_device(user_code: str) -> None:
    """Approve the login that shows USER_CODE; it becomes a login as you."""
    code = user_code.strip().upper()
    if not code.isascii() or not code.replace("-", "").isalnum() or len(code) > 40:
        raise InputError("UserCodeInvalid", f"{user_code[:40]!a} is not a code.", remedy="Type it as it is shown.")
    session = Session.open()
    path = f"/tenants/{session.profile.tenant_id}/providers/Arcgate.Network/deviceCodes/{code}/approve"
    run(session.send("POST", path, ARCGATE))
    click.echo("Approved.")
