"""`azcmagent disconnect`."""

import contextlib
from dataclasses import replace

import click

from arcgate.agent.commands.connect import command_lock
from arcgate.agent.commands.credentials import read_credentials, sign_in_flags
from arcgate.agent.commands.interruption import run_interruptible
from arcgate.agent.commands.invocation import Invocation, common_flags, invocation, needs_privileges
from arcgate.agent.disconnect import Offboarding, remove_local_state
from arcgate.agent.errors import AzcmError
from arcgate.agent.http import client
from arcgate.agent.login import Credentials
from arcgate.agent.state import AgentIdentity, read_identity
from arcgate.agent.surroundings_watch import outbound_for_agent
from arcgate.core.errors import HopError, StateError


@click.command("disconnect")
@click.option(
    "-f", "--force-local-only", is_flag=True, help="Clean this machine only; the resource in the cloud stays as it is."
)
@sign_in_flags
@common_flags
@needs_privileges
def command(
    force_local_only: bool,
    tenant_id: str,
    service_principal_id: str,
    service_principal_secret: str,
    service_principal_secret_file: str,
    service_principal_cert: str,
    access_token: str,
    use_device_code: bool,
    use_azcli: bool,
    user_tenant_id: str,
) -> None:
    """Delete this machine's resource and everything here that belongs to it; settings stay."""
    own = invocation()
    credentials = Credentials()
    if not force_local_only:
        credentials = read_credentials(
            own,
            tenant_id=tenant_id,
            service_principal_id=service_principal_id,
            service_principal_secret=service_principal_secret,
            service_principal_secret_file=service_principal_secret_file,
            service_principal_cert=service_principal_cert,
            access_token=access_token,
            use_device_code=use_device_code,
            use_azcli=use_azcli,
            user_tenant_id=user_tenant_id,
        )
    own.prepare()
    with command_lock(own):
        identity = _identity(own, force_local_only)
        if identity is None and not force_local_only:
            # A run of `connect` that was killed may have left a key behind.
            own.console.info("This machine is not connected.")
        elif identity is not None and not force_local_only:
            run_interruptible(
                _delete(own, identity, credentials), "Disconnecting was cancelled; nothing on this machine was changed."
            )
        _clean(own)
    own.console.info("Removed this machine's identity, key and certificate")
    if own.console.is_json:
        own.console.document({"status": "success"})


def _clean(own: Invocation) -> None:
    try:
        remove_local_state(own.paths)
    except OSError as error:
        raise AzcmError(
            63,
            "Not everything of this machine's identity could be removed.",
            cause=str(error),
            remedy="Remove the file that it names, and run 'azcmagent disconnect --force-local-only'.",
        ) from None


def _identity(own: Invocation, force: bool) -> AgentIdentity | None:
    if force:
        with contextlib.suppress(StateError):
            return read_identity(own.paths)
        return None
    return read_identity(own.paths)


async def _delete(own: Invocation, identity: AgentIdentity, credentials: Credentials) -> None:
    cloud = own.cloud(identity.cloud)
    http = client(outbound_for_agent(own.paths, own.environment, cloud=cloud), cloud.ca_pem)
    with_tenant = replace(credentials, tenant_id=credentials.tenant_id or identity.tenant_id)
    try:
        await Offboarding(cloud, http, own.console.info).delete_resource(identity, with_tenant)
    except HopError as error:
        further = "Without the cloud, --force-local-only cleans this machine; delete the resource later."
        raise AzcmError(26, error.sentence, cause=error.cause, remedy=f"{error.remedy} {further}".strip()) from None
