"""`azcmagent connect`."""

import click

from arcgate.agent.commands.credentials import read_credentials, sign_in_flags
from arcgate.agent.commands.interruption import run_interruptible
from arcgate.agent.commands.invocation import Invocation, common_flags, invocation, needs_privileges
from arcgate.agent.commands.refused_flags import refused_flags
from arcgate.agent.connect import Onboarding
from arcgate.agent.connect_request import ConnectRequest, parse_request
from arcgate.agent.errors import AzcmError
from arcgate.agent.http import client
from arcgate.agent.machine_key import KeyKind, now
from arcgate.agent.state import AgentIdentity, ServiceLock, is_running
from arcgate.agent.surroundings_watch import outbound_for_agent
from arcgate.core.errors import StateError

SERVICES = (("himds", "himdsd"), ("arcproxy", "arcproxyd"), ("extensionservice", "extd"))


@click.command("connect")
@click.option("-g", "--resource-group", default="", help="Resource group that the machine's resource goes into.")
@click.option("-l", "--location", default="", help="Location of the resource.")
@click.option("-s", "--subscription-id", default="", help="Subscription, its id or name.")
@click.option("-n", "--resource-name", default="", help="Name of the resource; default: the host name.")
@click.option("--cloud", default="", help="Name of the cloud; default: the only one that is defined.")
@click.option("--correlation-id", default="", help="Identifies this onboarding in logs.")
@click.option("--gateway-id", default="", help="Resource id of the gateway to use.")
@click.option(
    "--private-link-scope",
    default="",
    metavar="ID",
    help="Resource id of a private link scope, to be noted with the machine; names are resolved as ever.",
)
@click.option(
    "--use-aws-ec2-hostname", is_flag=True, help="Name the resource after the host on AWS too: here that is always so."
)
@click.option("--tags", default="", help="Tags, name=value,name=value; single quotes around parts with blanks.")
@click.option(
    "--key-type",
    type=click.Choice([kind.value for kind in KeyKind]),
    default=KeyKind.RSA.value,
    show_default=True,
    help="Kind of the machine's key, unless there is one already; ec (P-256) costs less in each handshake.",
)
@click.option("--ignore-network-check", is_flag=True, help="Go on when the agent service can't be reached at first.")
@refused_flags
@sign_in_flags
@common_flags
@needs_privileges
def command(
    resource_group: str,
    location: str,
    subscription_id: str,
    resource_name: str,
    cloud: str,
    correlation_id: str,
    gateway_id: str,
    private_link_scope: str,
    use_aws_ec2_hostname: bool,
    tags: str,
    key_type: str,
    ignore_network_check: bool,
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
    """Connect this machine to the cloud. Doing it again changes nothing but a given gateway."""
    own = invocation()
    request = parse_request(
        resource_group=resource_group,
        location=location,
        subscription=subscription_id,
        tenant_id=tenant_id,
        resource_name=resource_name,
        cloud=cloud,
        correlation_id=correlation_id,
        gateway_id=gateway_id,
        private_link_scope=private_link_scope,
        is_named_after_host=use_aws_ec2_hostname,
        tags=tags,
        key_kind=KeyKind(key_type),
        ignore_network_check=ignore_network_check,
        credentials=read_credentials(
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
        ),
    )
    identity = _connect(own, request)
    try:
        _start_services(own)
    except KeyboardInterrupt:
        raise AzcmError(
            11,
            f"The machine is connected as {identity.resource_id}, but starting its services was cancelled.",
            remedy="Run the same command again: it starts what does not run.",
        ) from None
    own.console.info(f"Connected machine to {identity.cloud}")
    own.console.line(f"Resource Id: {identity.resource_id}")
    if own.console.is_json:
        own.console.document({"status": "success", "resourceId": identity.resource_id, "vmId": identity.vm_id})


def _connect(own: Invocation, request: ConnectRequest) -> AgentIdentity:
    own.prepare()
    with command_lock(own):
        cloud = own.cloud(request.cloud)
        http = client(outbound_for_agent(own.paths, own.environment, cloud=cloud), cloud.ca_pem)
        console = own.console
        onboarding = Onboarding(own.paths, cloud, http, own.platform.facts(), now, console.info, console.progress)
        return run_interruptible(onboarding.run(request), "Connecting was cancelled.")


def command_lock(own: Invocation) -> ServiceLock:
    """Return the lock of commands that change who this machine is; raises AzcmError 62 while another has it."""
    lock = ServiceLock(own.paths.layout.state / "azcmagent.lock")
    try:
        lock.acquire()
    except StateError:
        raise AzcmError(
            62,
            "Another 'azcmagent' that connects, disconnects or upgrades this machine is running.",
            remedy="Wait for it to end.",
        ) from None
    return lock


def running_services(own: Invocation) -> set[str]:
    """Return the names of the services that run, whoever started them."""
    locks = {
        "himds": own.paths.himdsd_lock,
        "arcproxy": own.paths.arcproxyd_lock,
        "extensionservice": own.paths.extd_lock,
    }
    return {name for name, lock in locks.items() if is_running(lock)}


def _start_services(own: Invocation) -> None:
    """Start the services where a manager has them, or tell how to start them."""
    running = running_services(own)
    missing = [program for name, program in SERVICES if name not in running and not _started(own, name)]
    if missing:
        own.console.info(f"Start the services in the foreground, or by a manager of yours: {', '.join(missing)}")


def _started(own: Invocation, name: str) -> bool:
    platform = own.platform
    if own.paths.is_moved or not platform.manages_services() or platform.service_state(name) == "not installed":
        return False
    return platform.start_service(name)
