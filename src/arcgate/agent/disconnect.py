"""Off-boarding: the machine's resource is deleted, and everything local that made it that machine."""

from collections.abc import Callable
from dataclasses import dataclass

from arcgate.agent.arm import ResourceManager, machine_resource
from arcgate.agent.cloud import Cloud
from arcgate.agent.errors import AzcmError
from arcgate.agent.http import ServiceRefusal
from arcgate.agent.login import Credentials, get_token
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import AgentIdentity, identity_file
from arcgate.net.http_client import HttpClient


@dataclass(frozen=True, slots=True)
class Offboarding:
    """One run of `azcmagent disconnect` that asks the cloud."""

    cloud: Cloud
    http: HttpClient
    tell: Callable[[str], None]

    async def delete_resource(self, identity: AgentIdentity, credentials: Credentials) -> None:
        """Delete the machine's resource; raises AzcmError 43 (or the sign-in's), HopError."""
        token = await get_token(self.http, self.cloud, credentials, self.tell)
        manager = ResourceManager(self.http, self.cloud.resource_manager, token)
        resource = machine_resource(identity.subscription_id, identity.resource_group, identity.resource_name)
        try:
            existed = await manager.delete_machine(resource)
        except ServiceRefusal as error:
            raise AzcmError(
                43,
                f"The resource {resource} can't be deleted.",
                cause=error.one_line(),
                remedy="Use an account that may delete it, or --force-local-only and delete the resource later.",
            ) from None
        self.tell(f"Deleted the resource {resource}" if existed else f"The resource {resource} was gone already")


def remove_local_state(paths: AgentPaths) -> None:
    """Remove identity, goals, certificate and key; settings and logs stay. Identity first: services stop at that."""
    identity_file(paths).remove()
    extensions = (paths.extensions, paths.extension_statuses)
    for path in (paths.goal, *extensions, paths.machine_certificate, paths.machine_key, paths.himds_state):
        path.unlink(missing_ok=True)
    if paths.tokens.is_dir():
        for challenge in paths.tokens.glob("*.key"):
            challenge.unlink(missing_ok=True)
