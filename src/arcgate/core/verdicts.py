"""Verdicts of the gateway and the stable reason codes that explain them, each with its remedy.

Reason codes stand in answers, audit records, logs and metrics: never rename one, only add.
"""

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """Why a tunnel was let through or refused."""

    # Allowed.
    FEATURE = "feature"
    ENDPOINT_SET = "endpoint_set"
    CONTROL_PLANE = "control_plane"
    INCOMING = "incoming_connection"

    # Refused: the request.
    REQUEST_MALFORMED = "request_malformed"
    HEAD_TOO_LARGE = "head_too_large"
    HEAD_TIMEOUT = "head_timeout"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    # Refused: who asks.
    CERTIFICATE_REQUIRED = "certificate_required"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_EXPIRED = "certificate_expired"
    CERTIFICATE_UNSUITABLE = "certificate_unsuitable"
    MACHINE_UNKNOWN = "machine_unknown"
    GATEWAY_UNKNOWN = "gateway_unknown"
    NOT_ASSOCIATED = "not_associated"
    SIGNED_CHANNEL_NOT_ALLOWED = "signed_channel_not_allowed"
    PROOF_INVALID = "proof_invalid"
    # Refused: where to.
    TARGET_NOT_ALLOWED = "target_not_allowed"
    GROUP_NOT_ALLOWED = "group_not_allowed"
    WILDCARD_PINNED = "wildcard_pinned"
    FEATURE_AUDITED = "feature_audited"
    SERVER_NAME_DIFFERS = "server_name_differs"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    LOOP = "loop"
    # Refused: connections to a machine.
    GRANT_INVALID = "grant_invalid"
    MACHINE_NOT_WAITING = "machine_not_waiting"
    INCOMING_NOT_ENABLED = "incoming_not_enabled"
    INCOMING_PORT_NOT_ALLOWED = "incoming_port_not_allowed"
    CONTROL_PLANE_UNREACHABLE = "control_plane_unreachable"
    # Refused: it can't be done.
    DNS_FAILED = "dns_failed"
    TARGET_REFUSED = "target_refused"
    TARGET_UNREACHABLE = "target_unreachable"
    TARGET_TIMEOUT = "target_timeout"
    NO_POLICY = "no_policy"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    LIMIT_REACHED = "limit_reached"
    DAY_USED_UP = "day_used_up"
    DRAINING = "draining"
    INTERNAL = "internal"


class EndReason(StrEnum):
    """Why a tunnel that was let through has ended."""

    COMPLETED = "completed"
    CLIENT_RESET = "client_reset"
    TARGET_RESET = "target_reset"
    IDLE_TIMEOUT = "idle_timeout"
    TARGET_NOT_ALLOWED = "target_not_allowed"
    SERVER_NAME_DIFFERS = "server_name_differs"
    ASSOCIATION_REMOVED = "association_removed"
    CERTIFICATE_REVOKED = "certificate_revoked"
    CERTIFICATE_EXPIRED = "certificate_expired"
    GATEWAY_DELETED = "gateway_deleted"
    SIGNED_CHANNEL_NOT_ALLOWED = "signed_channel_not_allowed"
    MACHINE_DELETED = "machine_deleted"
    DAY_USED_UP = "day_used_up"
    ACCESS_REVOKED = "access_revoked"
    CUT_BY_OPERATOR = "cut_by_operator"
    SHUTDOWN = "shutdown"
    NODE_LOST = "node_lost"
    INTERNAL = "internal"


ENDINGS: dict[EndReason, str] = {
    EndReason.COMPLETED: "Both directions have ended cleanly.",
    EndReason.CLIENT_RESET: "The client's side broke off, or the client was cut on its way.",
    EndReason.TARGET_RESET: "The target broke off.",
    EndReason.IDLE_TIMEOUT: "No byte passed in either direction for gateway.idle_timeout or half_closed_timeout.",
    EndReason.TARGET_NOT_ALLOWED: "A change of the policy took the target, or its address, out.",
    EndReason.SERVER_NAME_DIFFERS: "The ClientHello inside did not ask for the name of the CONNECT.",
    EndReason.ASSOCIATION_REMOVED: "The machine is not associated with this gateway any more.",
    EndReason.CERTIFICATE_REVOKED: "The machine's certificate was revoked.",
    EndReason.CERTIFICATE_EXPIRED: "The machine's certificate has expired.",
    EndReason.GATEWAY_DELETED: "The gateway was deleted.",
    EndReason.SIGNED_CHANNEL_NOT_ALLOWED: "The gateway takes no signed channels any more.",
    EndReason.MACHINE_DELETED: "The machine's resource was deleted.",
    EndReason.DAY_USED_UP: "The machine had carried gateway.machine_daily_bytes on this day (UTC).",
    EndReason.ACCESS_REVOKED: "Who had connected to the machine has no role for it any more.",
    EndReason.CUT_BY_OPERATOR: "Somebody cut it, as 'arcgate machine cut' does.",
    EndReason.SHUTDOWN: "The node was stopped, and the tunnel did not end within gateway.drain_timeout.",
    EndReason.NODE_LOST: "The node died; its next start found the tunnel in its spool.",
    EndReason.INTERNAL: "The gateway failed; its log has the cause.",
}
"""What each way of ending means, for people who read the audit."""

ALLOWING = frozenset({Reason.FEATURE, Reason.ENDPOINT_SET, Reason.CONTROL_PLANE, Reason.INCOMING})


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a refusal tells the client: HTTP status, one sentence, and an instruction to the admin."""

    status: int
    sentence: str
    remedy: str


EXPLANATIONS: dict[Reason, Explanation] = {
    Reason.REQUEST_MALFORMED: Explanation(
        400,
        "The request is not well-formed HTTP/1.1.",
        "Send CONNECT HOST:PORT HTTP/1.1 with one matching Host field.",
    ),
    Reason.HEAD_TOO_LARGE: Explanation(
        431, "The request head is larger than allowed.", "Send fewer or shorter header fields."
    ),
    Reason.HEAD_TIMEOUT: Explanation(
        408,
        "The request head did not arrive in time.",
        "Look for a proxy or network on the path that holds bytes back.",
    ),
    Reason.METHOD_NOT_ALLOWED: Explanation(
        405,
        "The gateway takes CONNECT requests only.",
        "Set the gateway (or Arc Proxy) as an HTTPS proxy of the client.",
    ),
    Reason.CERTIFICATE_REQUIRED: Explanation(
        403,
        "Without a machine certificate only the control plane can be reached.",
        "Run 'azcmagent connect' on the machine; a generic client gives the machine's certificate and key.",
    ),
    Reason.CERTIFICATE_REVOKED: Explanation(
        403,
        "The machine's certificate has been revoked.",
        "Run 'azcmagent disconnect' and 'azcmagent connect' on the machine.",
    ),
    Reason.CERTIFICATE_EXPIRED: Explanation(
        403,
        "The machine's certificate has expired.",
        "Start himdsd on the machine, which renews it, or run 'azcmagent disconnect' and 'azcmagent connect'.",
    ),
    Reason.CERTIFICATE_UNSUITABLE: Explanation(
        403,
        "The client certificate does not name a machine.",
        "Use the certificate that 'azcmagent connect' stored on the machine.",
    ),
    Reason.MACHINE_UNKNOWN: Explanation(
        403,
        "The machine of this certificate does not exist (any more).",
        "Run 'azcmagent disconnect --force-local-only' and 'azcmagent connect' on the machine.",
    ),
    Reason.GATEWAY_UNKNOWN: Explanation(
        403,
        "There is no gateway of this name.",
        "Compare the gateway URL of 'azcmagent show' with 'arcgate gateway list'.",
    ),
    Reason.NOT_ASSOCIATED: Explanation(
        403,
        "The machine is not associated with this gateway.",
        "Run 'arcgate setting update' with this gateway's resource id for the machine.",
    ),
    Reason.SIGNED_CHANNEL_NOT_ALLOWED: Explanation(
        403,
        "The gateway takes no signed channels, and TLS is opened on the path, which hides the certificate.",
        "Exempt the gateway's name from inspection, or run 'arcgate gateway update --signed-channels allowed'.",
    ),
    Reason.PROOF_INVALID: Explanation(
        403,
        "The request is not proven to be the machine's.",
        "Check the machine's clock; else something on the path changes or repeats requests: look into the proxy's log.",
    ),
    Reason.TARGET_NOT_ALLOWED: Explanation(
        403,
        "No feature or endpoint set of the gateway allows this target.",
        "Add the feature to the gateway's allowed features, or the target to an endpoint set that the gateway allows.",
    ),
    Reason.GROUP_NOT_ALLOWED: Explanation(
        403,
        "The gateway allows this target, but none of the machine's groups does.",
        "Add the target's feature to one of the machine's groups, or correct the machine's tags.",
    ),
    Reason.WILDCARD_PINNED: Explanation(
        403,
        "A wildcard of the gateway holds this target, but is pinned to other names.",
        "Add the name to the gateway's pins if it is one of yours.",
    ),
    Reason.FEATURE_AUDITED: Explanation(
        403,
        "The target belongs to a feature that the gateway carries on trial alone.",
        "Add the feature to the gateway's allowed features, or leave it out of the audited ones to refuse it.",
    ),
    Reason.SERVER_NAME_DIFFERS: Explanation(
        403,
        "The client asks for another server name inside the tunnel than in its CONNECT, or for none.",
        "Find out which program does so; set the gateway's serverName to audit or off if it must.",
    ),
    Reason.ADDRESS_NOT_ALLOWED: Explanation(
        403,
        "The target's address is not public.",
        "If it is meant to be reached, name it in an endpoint set with allowPrivate or list gateway.open_networks.",
    ),
    Reason.LOOP: Explanation(
        403,
        "The target is this gateway or proxy itself.",
        "Remove the proxy's own name from what clients send through it.",
    ),
    Reason.GRANT_INVALID: Explanation(
        403,
        "The grant for this connection is not valid: unknown, used already, or too old.",
        "Connect anew: 'arcgate ssh' gets a grant of its own for each connection.",
    ),
    Reason.MACHINE_NOT_WAITING: Explanation(
        503,
        "The machine does not wait for incoming connections on this gateway.",
        "On the machine: incomingconnections.enabled must be true, incomingconnections.ports name the port, "
        "config.mode be full, and 'azcmagent show' tell that arcproxy uses this gateway. Behind a "
        "load balancer or proxy it may wait at another node: retry, or give its gateway's name all nodes' addresses.",
    ),
    Reason.INCOMING_NOT_ENABLED: Explanation(
        403,
        "The machine's own settings allow no incoming connections.",
        "On the machine: 'azcmagent config set incomingconnections.enabled true', and config.mode full.",
    ),
    Reason.INCOMING_PORT_NOT_ALLOWED: Explanation(
        403,
        "The machine's own settings don't allow incoming connections to this port.",
        "On the machine: name the port in 'azcmagent config set incomingconnections.ports PORT[,PORT]'.",
    ),
    Reason.CONTROL_PLANE_UNREACHABLE: Explanation(
        503,
        "The gateway could not ask the control plane whether the connection is granted.",
        "Check that the gateway node reaches its control plane, and retry.",
    ),
    Reason.DNS_FAILED: Explanation(
        502,
        "The target's name could not be resolved.",
        "Check the name, and the DNS servers that the gateway uses.",
    ),
    Reason.TARGET_REFUSED: Explanation(
        502, "The target refused the connection.", "Check that the service listens on this port."
    ),
    Reason.TARGET_UNREACHABLE: Explanation(
        502,
        "The target could not be reached.",
        "Check the gateway host's route and firewall towards the target.",
    ),
    Reason.TARGET_TIMEOUT: Explanation(
        504,
        "The target did not answer in time.",
        "Check the gateway host's route and firewall towards the target.",
    ),
    Reason.NO_POLICY: Explanation(
        503,
        "The gateway has no policy yet and lets nothing through.",
        "Check that the gateway node reaches its control plane.",
    ),
    Reason.AUDIT_UNAVAILABLE: Explanation(
        503,
        "The gateway can't write its audit record and lets nothing through unrecorded.",
        "Free space on, or repair, the disk that holds the gateway's spool.",
    ),
    Reason.LIMIT_REACHED: Explanation(
        503,
        "The gateway's limit of tunnels is reached.",
        "Retry later; raise gateway.max_tunnels or add a node.",
    ),
    Reason.DAY_USED_UP: Explanation(
        503,
        "The machine has carried all bytes that it may carry today.",
        "Wait for the next day (UTC), or raise gateway.machine_daily_bytes.",
    ),
    Reason.DRAINING: Explanation(
        503, "The gateway node is shutting down.", "Retry; another node or the next start answers."
    ),
    Reason.INTERNAL: Explanation(500, "The gateway failed.", "Search the gateway's log for the correlation id."),
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision on one request: a reason, the rule that led to it and the feature that the rule is of."""

    reason: Reason
    feature: str = ""
    rule: str = ""
    detail: str = ""
    retry_after: int = 0
    """Seconds until another try may go better, 0 when it is not known."""
    group: str = ""
    """The machine group whose rule decided, empty where none narrows the gateway's."""
    is_audited: bool = False
    """Whether a refusal is only recorded: the policy is in audit mode there."""

    @property
    def is_allowed(self) -> bool:
        """Whether the tunnel may be opened."""
        return self.is_audited or self.reason in ALLOWING

    @property
    def name(self) -> str:
        """The word of audit records: allowed, audited (it would be refused) or refused."""
        return "audited" if self.is_audited else "allowed" if self.is_allowed else "refused"
