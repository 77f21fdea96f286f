"""What `azcmagent connect` was asked to do, checked before anything happens."""

import re
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from arcgate.agent.errors import AzcmError, as_azcm
from arcgate.agent.login import Credentials
from arcgate.agent.machine_key import KeyKind
from arcgate.agent.state import AgentIdentity
from arcgate.core.errors import InputError
from arcgate.core.guids import is_guid
from arcgate.core.resource_ids import GATEWAY_TYPE, PRIVATE_LINK_SCOPE_TYPE, parse_resource_id

LONGEST_NAME = 54
"""Characters of a machine's resource name."""

NO_CREDENTIALS = Credentials()

_NAME = re.compile(rf"[A-Za-z0-9](?:[A-Za-z0-9_-]{{0,{LONGEST_NAME - 2}}}[A-Za-z0-9])?\Z")
_GROUP = re.compile(r"[A-Za-z0-9_.()-]{1,90}\Z")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}\Z")
_LOCATION = re.compile(r"[A-Za-z0-9 -]{1,64}\Z")
_CORRELATION = re.compile(r"[A-Za-z0-9-]{8,64}\Z")
_SUBSCRIPTION = re.compile(r"[^\x00-\x1f\x7f/]{1,128}\Z")
_TAG = re.compile(r"\s*(?P<name>'[^']*'|[^=,']+?)\s*=\s*(?P<value>'[^']*'|[^,']*?)\s*(?:,|\Z)")


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """One wish to connect this machine; `subscription` is an id or a display name."""

    resource_group: str
    location: str
    subscription: str
    resource_name: str
    correlation_id: str
    is_name_given: bool = False
    cloud: str = ""
    """The cloud's name as it was given; empty for the only one."""
    tenant_id: str = ""
    gateway_id: str = ""
    private_link_scope: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    credentials: Credentials = NO_CREDENTIALS
    ignore_network_check: bool = False
    key_kind: KeyKind = KeyKind.RSA
    """Of the key that is made; a key that is here already stays as it is."""

    @property
    def has_subscription_id(self) -> bool:
        """Whether the subscription is given by its id."""
        return is_guid(self.subscription)

    def differences(self, identity: AgentIdentity) -> list[str]:
        """Return the words for what a connected machine's identity has otherwise than this request says."""
        wanted = {
            "resource group": (self.resource_group, identity.resource_group),
            "location": (normal_location(self.location), normal_location(identity.location)),
        }
        if self.is_name_given:
            wanted["resource name"] = (self.resource_name, identity.resource_name)
        if self.cloud:
            wanted["cloud"] = (self.cloud, identity.cloud)
        if self.has_subscription_id:
            wanted["subscription"] = (self.subscription, identity.subscription_id)
        if self.tenant_id and is_guid(self.tenant_id):
            wanted["tenant"] = (self.tenant_id, identity.tenant_id)
        return [
            f"{what} {connected!r}, not {asked!r}"
            for what, (asked, connected) in wanted.items()
            if asked.lower() != connected.lower()
        ]


def parse_request(
    *,
    resource_group: str,
    location: str,
    subscription: str,
    tenant_id: str = "",
    resource_name: str = "",
    cloud: str = "",
    correlation_id: str = "",
    gateway_id: str = "",
    private_link_scope: str = "",
    is_named_after_host: bool = False,
    tags: str = "",
    credentials: Credentials = NO_CREDENTIALS,
    ignore_network_check: bool = False,
    key_kind: KeyKind = KeyKind.RSA,
) -> ConnectRequest:
    """Return the request of these flags; raises AzcmError 16, 23, 27 or 102."""
    if is_named_after_host and resource_name:
        raise AzcmError(
            27,
            "--resource-name and --use-aws-ec2-hostname were given.",
            remedy="Leave one of them out: without a name, the resource is named after the host.",
        )
    for flag, value in (
        ("--resource-group", resource_group),
        ("--location", location),
        ("--subscription-id", subscription),
    ):
        if not value:
            raise AzcmError(16, f"{flag} is missing.", remedy=f"Add {flag}, or put it into the file of --config.")
    if credentials.client_id and not credentials.access_token and not tenant_id:
        raise AzcmError(16, "--tenant-id is missing.", remedy="A service principal needs --tenant-id.")
    _require(_GROUP, resource_group, "--resource-group", "a resource group's name")
    _require(_LOCATION, location, "--location", "a location, for example eastus")
    _require(_SUBSCRIPTION, subscription, "--subscription-id", "a subscription's id or name")
    if tenant_id:
        _require(_TENANT, tenant_id, "--tenant-id", "a tenant's id or domain")
    if correlation_id:
        _require(_CORRELATION, correlation_id, "--correlation-id", "8 to 64 letters, digits and hyphens")
    return ConnectRequest(
        resource_group,
        normal_location(location),
        subscription.lower() if is_guid(subscription) else subscription,
        _name(resource_name),
        correlation_id or str(uuid.uuid4()),
        bool(resource_name),
        cloud,
        tenant_id,
        parse_gateway_id(gateway_id),
        _resource_id(private_link_scope, PRIVATE_LINK_SCOPE_TYPE),
        parse_tags(tags),
        credentials,
        ignore_network_check,
        key_kind,
    )


def parse_gateway_id(text: str) -> str:
    """Return the resource id of a gateway in ARM's casing, empty for none; raises AzcmError 23."""
    return _resource_id(text, GATEWAY_TYPE)


def _resource_id(text: str, kind: str) -> str:
    if not text:
        return ""
    try:
        return str(parse_resource_id(text, kind))
    except InputError as error:
        raise as_azcm(error, 23) from None


def parse_tags(text: str) -> dict[str, str]:
    """Return the tags of `name=value,'a name'='a value'`; raises AzcmError 23."""
    tags: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _TAG.match(text, position)
        if match is None:
            raise AzcmError(
                23,
                "The value of --tags can't be read.",
                cause=f"at {text[position : position + 40]!r}",
                remedy="Write name=value,name=value; parts with blanks or commas in single quotes.",
            )
        tags[match["name"].strip("'")] = match["value"].strip("'")
        position = match.end()
    return tags


def normal_location(text: str) -> str:
    """Return a location as ARM compares it: lower case without blanks."""
    return text.replace(" ", "").lower()


def _name(given: str) -> str:
    name = given or socket.gethostname().partition(".")[0]
    if _NAME.match(name):
        return name
    where = "--resource-name" if given else "the host name"
    raise AzcmError(
        102,
        f"{name[:100]!r} ({where}) can't be a resource name.",
        cause=f"Letters, digits, hyphens and underscores are allowed, at most {LONGEST_NAME}; "
        "it must begin and end with a letter or digit.",
        remedy="Give another name with --resource-name.",
    )


def _require(pattern: re.Pattern[str], value: str, flag: str, what: str) -> None:
    if not pattern.match(value) or value.endswith("."):
        raise AzcmError(23, f"{value[:100]!r} is not a value of {flag}.", remedy=f"Give {what}.")
