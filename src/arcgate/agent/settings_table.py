"""The properties of `azcmagent config`: names, kinds, defaults and meanings, and what texts they take."""

import re
from pathlib import PurePath

from arcgate.agent.errors import AzcmError
from arcgate.agent.inspection_ca import read_authorities
from arcgate.agent.settings_property import Kind, Property
from arcgate.core.hand_over import MODES
from arcgate.core.names import parse_target
from arcgate.core.routing import PROXY_BYPASS_GROUPS, parse_proxy_bypass
from arcgate.core.urls import Url, parse_url
from arcgate.wire.extension_signature import read_keys
from arcgate.wire.proxy_authentication import Scheme

_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\-]{0,63}\$?\Z")
_EXTENSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}/[A-Za-z0-9*][A-Za-z0-9._*-]{0,127}\Z")


def _proxy_url(text: str) -> None:
    if any(url.path != "/" for url in parse_proxies(text)):
        raise ValueError("Give http://HOST[:PORT], without a path.")


def parse_proxies(text: str) -> tuple[Url, ...]:
    """Return the URLs of a comma separated value of proxy.url; raises InputError (URL_INVALID)."""
    return tuple(parse_url(part.strip()) for part in text.split(","))


def _file(text: str) -> None:
    if not PurePath(text).is_absolute():
        raise ValueError("Give the whole path of the file.")


def _scheme(text: str) -> None:
    if text not in set(Scheme):
        raise ValueError(f"Choose from: {', '.join(Scheme)}.")


def _extension(text: str) -> None:
    if text != "Allow/None" and not _EXTENSION.match(text):
        raise ValueError("Write Publisher/Type, or Allow/None.")


def _port(text: str) -> None:
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65535:
        raise ValueError("Ports are numbers from 1 to 65535.")


def _account(text: str) -> None:
    if not _ACCOUNT.match(text):
        raise ValueError("Give the name or the number of a user or group.")


def _bypass(text: str) -> None:
    parse_proxy_bypass([text])


def _properties() -> tuple[Property, ...]:
    return (
        Property(
            "connection.type",
            Kind.CHOICE,
            "default",
            "How the machine connects: 'gateway' through the Arc gateway, 'direct' without it, "
            "'default' as the machine's association says.",
            allowed=("default", "direct", "gateway"),
        ),
        Property(
            "proxy.url",
            Kind.TEXT,
            "",
            "The enterprise proxy, http://HOST[:PORT] or https://HOST[:PORT]; several, by commas, are tried in order "
            "while earlier ones don't work. Empty: HTTPS_PROXY and NO_PROXY of the environment.",
            check=_proxy_url,
        ),
        Property(
            "proxy.pac",
            Kind.TEXT,
            "",
            "PAC file (a path) that chooses the proxies, in place of proxy.url and the environment.",
            check=_file,
        ),
        Property(
            "proxy.credentials",
            Kind.TEXT,
            "",
            "File with user and password for the proxy, USER:PASSWORD, which others can't read.",
            check=_file,
        ),
        Property(
            "proxy.authentication",
            Kind.LIST,
            [],
            f"How the agent may authenticate to the proxy, of {', '.join(Scheme)}; empty: by the strongest offered.",
            check=_scheme,
        ),
        Property(
            "proxy.keytab",
            Kind.TEXT,
            "",
            "Kerberos key table for the proxy's Negotiate; empty: the ticket cache of the services' user.",
            check=_file,
        ),
        Property(
            "proxy.bypass",
            Kind.LIST,
            [],
            f"What skips the proxy: {', '.join(PROXY_BYPASS_GROUPS)}, or host patterns.",
            check=_bypass,
        ),
        Property(
            "incomingconnections.enabled",
            Kind.BOOLEAN,
            True,
            "Whether connections to this machine may be made through its gateway (SSH, Windows Admin Center).",
        ),
        Property(
            "incomingconnections.ports",
            Kind.LIST,
            [],
            "Local ports that such connections may reach; empty: none.",
            check=_port,
        ),
        Property(
            "extensions.enabled",
            Kind.BOOLEAN,
            True,
            "Whether extensions may be installed and changed; removing them always works.",
        ),
        Property(
            "extensions.allowlist",
            Kind.LIST,
            [],
            "Extensions that alone may be installed, Publisher/Type; Allow/None allows none.",
            check=_extension,
        ),
        Property(
            "extensions.blocklist",
            Kind.LIST,
            [],
            "Extensions that may not be installed, Publisher/Type; beats the allow list.",
            check=_extension,
        ),
        Property(
            "guestconfiguration.enabled", Kind.BOOLEAN, True, "Whether machine configuration runs.", has_effect=False
        ),
        Property(
            "guestconfiguration.agent.cpulimit",
            Kind.INTEGER,
            5,
            "Percent of a processor for machine configuration.",
            least=1,
            most=100,
            has_effect=False,
        ),
        Property(
            "extensions.agent.cpulimit",
            Kind.INTEGER,
            5,
            "Percent of all processors for each command of an extension and what it leaves running; needs systemd.",
            least=1,
            most=100,
        ),
        Property(
            "extensions.timeout",
            Kind.INTEGER,
            3600,
            "Time for each command of an extension, in seconds; then it is killed with all that it has started.",
            least=1,
            most=86_400,
        ),
        Property(
            "extensions.publisherkeys",
            Kind.LIST,
            [],
            "Ed25519 keys (32 bytes in base64) that must have signed extensions; empty: those that the cloud names.",
            check=lambda text: read_keys([text]),
        ),
        Property(
            "config.mode",
            Kind.CHOICE,
            "full",
            "'monitor' allows monitoring extensions only, no incoming connections and no machine configuration.",
            allowed=("full", "monitor"),
        ),
        Property(
            "himds.port",
            Kind.INTEGER,
            40342,
            "Port of the agent service on the loopback addresses, where programs get tokens; "
            "clients know the default alone.",
            least=1,
            most=65535,
        ),
        Property(
            "arcproxy.port", Kind.INTEGER, 40343, "Port of Arc Proxy on the loopback addresses.", least=1, most=65535
        ),
        Property(
            "arcproxy.log.level",
            Kind.CHOICE,
            "info",
            "Least level that Arc Proxy logs; 'info' has a line for each request.",
            allowed=("debug", "info", "warning", "error"),
        ),
        Property(
            "arcproxy.log.process",
            Kind.CHOICE,
            "process",
            "Who is named with each request in Arc Proxy's log: the user, also the process where we may see it, or "
            "nobody ('off').",
            allowed=("off", "user", "process"),
        ),
        Property(
            "arcproxy.audit.process",
            Kind.BOOLEAN,
            False,
            "Tell the gateway which user and process opened each tunnel, for its audit; it takes that down where its "
            "operator has allowed it (gateway.audit_process).",
        ),
        Property(
            "arcproxy.allowedusers",
            Kind.LIST,
            [],
            "Users who may use Arc Proxy, by name or number; empty, as are the groups: every user of this machine.",
            check=_account,
        ),
        Property(
            "arcproxy.allowedgroups",
            Kind.LIST,
            [],
            "Groups whose users may use Arc Proxy, by name or number.",
            check=_account,
        ),
        Property(
            "arcproxy.connections",
            Kind.INTEGER,
            4096,
            "Connections that Arc Proxy serves at once; more get 503.",
            least=1,
            most=100_000,
        ),
        Property(
            "arcproxy.timeout.head",
            Kind.INTEGER,
            10,
            "Time for a client's request head, in seconds.",
            least=1,
            most=3600,
        ),
        Property(
            "arcproxy.timeout.idle",
            Kind.INTEGER,
            14_400,
            "A tunnel without a byte either way ends after, in seconds.",
            least=1,
            most=86_400,
        ),
        Property(
            "arcproxy.timeout.halfclosed",
            Kind.INTEGER,
            300,
            "... when one direction has ended already, in seconds.",
            least=1,
            most=86_400,
        ),
        Property(
            "arcproxy.timeout.drain",
            Kind.INTEGER,
            30,
            "Time that tunnels get to end when Arc Proxy stops, in seconds.",
            least=0,
            most=3600,
        ),
        Property(
            "arcproxy.timeout.connect",
            Kind.INTEGER,
            10,
            "Time for each TCP connection and TLS handshake of the agent's, in seconds.",
            least=1,
            most=300,
        ),
        Property(
            "arcproxy.timeout.answer",
            Kind.INTEGER,
            20,
            "Time for the enterprise proxy's or the gateway's answer to CONNECT, in seconds.",
            least=1,
            most=300,
        ),
        Property(
            "arcproxy.channels",
            Kind.INTEGER,
            64,
            "Idle channels to the gateway that are kept for the next tunnels; 0 opens a fresh one for each tunnel.",
            least=0,
            most=1000,
        ),
        Property(
            "arcproxy.earlyanswer",
            Kind.BOOLEAN,
            False,
            "Answer CONNECT before the gateway has, for targets that it is known to allow: saves a round trip; "
            "what fails then is a reset instead of a refusal.",
        ),
        Property(
            "arcproxy.handover",
            Kind.CHOICE,
            "idle",
            "Which tunnels whose own TLS is 1.3 leave the channel's TLS, for speed: none ('off', encrypted twice), "
            "those with much to carry ('bulk'), idle ones too ('idle'), or all ('early'). The gateway may be stricter.",
            allowed=MODES,
        ),
        Property(
            "arcproxy.handover.afterbytes",
            Kind.INTEGER,
            65_536,
            "Bytes of a direction that make a tunnel bulk for arcproxy.handover.",
            least=1,
            most=999_999,
        ),
        Property(
            "arcproxy.handover.idle",
            Kind.INTEGER,
            5,
            "Without a byte, a tunnel is idle for arcproxy.handover after, in seconds.",
            least=1,
            most=86_400,
        ),
        Property(
            "inspection.ca",
            Kind.TEXT,
            "",
            "File (PEM) with the CA of a proxy that inspects TLS, to be trusted on purpose: where its certificates "
            "come, the machine signs its requests to the gateway instead; empty: nobody may inspect.",
            check=_file,
            look=read_authorities,
        ),
        Property(
            "inspection.pinginterval",
            Kind.INTEGER,
            30,
            "A signed channel that is silent for so long sends a ping, in seconds, so that proxies don't cut it; "
            "0: none.",
            least=0,
            most=3600,
        ),
        Property(
            "gateway.address",
            Kind.TEXT,
            "",
            "HOST:PORT to dial in place of the gateway's own name; empty: the name is resolved.",
            check=parse_target,
        ),
        Property(
            "check.endpoints",
            Kind.LIST,
            [],
            "Further endpoints, HOST[:PORT], that 'azcmagent check' tries.",
            check=lambda text: parse_target(text, 443),
        ),
        Property(
            "check.timeout",
            Kind.INTEGER,
            30,
            "Time that 'azcmagent check' gives each endpoint, in seconds.",
            least=1,
            most=600,
        ),
    )


PROPERTIES: dict[str, Property] = {one.name: one for one in _properties()}


def property_of(name: str) -> Property:
    """Return the property of that name; raises AzcmError 23."""
    if name not in PROPERTIES:
        raise AzcmError(
            23, f"There is no property {name[:100]!r}.", remedy="'azcmagent config info' lists the properties."
        )
    return PROPERTIES[name]
