"""The heartbeat's content."""

from typing import Any

from arcgate import __version__
from arcgate.agent.local_settings import LocalSettings
from arcgate.agent.machine_key import CertificateFacts
from arcgate.agent.paths import AgentPaths
from arcgate.agent.platform import MachineFacts
from arcgate.agent.state import is_running, read_arcproxy_state
from arcgate.core.routing import ConnectionType, Goal, Routing


def make_report(
    facts: MachineFacts,
    settings: LocalSettings,
    goal: Goal,
    certificate: CertificateFacts | None,
    services: dict[str, str],
    applied_revision: int,
) -> dict[str, Any]:
    """Return the document of a heartbeat; never the proxy's user and password. Pure."""
    uses_gateway = Routing(goal, settings.connection_type).uses_gateway
    return {
        "agentVersion": __version__,
        "status": "Connected",
        "osType": facts.os_type,
        "osName": facts.os_name,
        "osVersion": facts.os_version,
        "machineFqdn": facts.fqdn,
        "vmUuid": facts.vm_uuid,
        "goalRevision": goal.revision,
        "appliedRevision": applied_revision,
        "connectionType": str(ConnectionType.GATEWAY if uses_gateway else ConnectionType.DIRECT),
        "upstreamProxy": settings.proxy_url.origin if settings.proxy_url else "",
        "services": services,
        "certificateSerial": certificate.serial if certificate else "",
    }


def applied_revision(paths: AgentPaths, goal: Goal) -> int:
    """Return the revision that is in force: Arc Proxy's, while it runs."""
    if not is_running(paths.arcproxyd_lock):
        return goal.revision
    return read_arcproxy_state(paths).goal_revision


def service_states(paths: AgentPaths) -> dict[str, str]:
    """Return the states of the agent's services, seen from himdsd."""
    locks = {"arcproxy": paths.arcproxyd_lock, "extensionservice": paths.extd_lock}
    return {"himds": "running", **{name: "running" if is_running(one) else "stopped" for name, one in locks.items()}}
