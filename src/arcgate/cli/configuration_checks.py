"""What no single setting can know: values that contradict each other, and lists whose items are malformed."""

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address

from arcgate.core.configuration import Configuration
from arcgate.core.errors import ConfigurationError, InputError, Place
from arcgate.core.names import parse_host_name
from arcgate.core.urls import parse_url
from arcgate.net.resolver import SystemResolver

PlaceOf = Callable[[tuple[str, ...]], Place]
Finding = tuple[tuple[str, ...], str, str]
"""Path of the setting, what is wrong, what to do."""

_REGION = re.compile(r"[a-z][a-z0-9]{1,49}\Z")
_EMAIL = re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]{1,253}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")


def find_contradictions(configuration: Configuration, place: PlaceOf) -> list[ConfigurationError]:
    """Return what is wrong between settings that are each valid by themselves; touches no file."""
    checks = (
        *(_check_folders, _check_cloud, _check_listen, _check_tls, _check_acme, _check_database),
        *(_check_control, _check_identity, _check_gateway),
    )
    return [
        ConfigurationError(place(path), f"{'.'.join(path)}: {sentence}", remedy=remedy)
        for check in checks
        for path, sentence, remedy in check(configuration)
    ]


def _check_folders(configuration: Configuration) -> Iterator[Finding]:
    if not configuration.state_dir.is_absolute():
        yield ("state_dir",), "the path is relative.", "Write the whole path, beginning with /."


def _check_cloud(configuration: Configuration) -> Iterator[Finding]:
    cloud = configuration.cloud
    if not _NAME.match(cloud.name):
        yield ("cloud", "name"), f"{cloud.name!a} is not a name.", "Use letters, digits, hyphens and underscores."
    if not cloud.regions:
        yield ("cloud", "regions"), "the list is empty.", "Name at least one location."
    for region in cloud.regions:
        if not _REGION.match(region):
            yield ("cloud", "regions"), f"{region!a} is not a location.", "Use small letters and digits, as in eastus."


def _check_listen(configuration: Configuration) -> Iterator[Finding]:
    addresses = configuration.listen.addresses
    if not addresses:
        yield ("listen", "addresses"), "the list is empty.", "Name at least one address; 0.0.0.0 is every IPv4 address."
    for address in addresses:
        try:
            ip_address(address)
        except ValueError:
            yield ("listen", "addresses"), f"{address!a} is not an IP address.", "Write an address without port."
    if len(set(addresses)) != len(addresses):
        yield ("listen", "addresses"), "an address is there twice.", "Name each address once."


def _check_tls(configuration: Configuration) -> Iterator[Finding]:
    tls = configuration.tls
    if tls.certificate_file is not None and tls.key_file is None:
        yield ("tls", "certificate_file"), "there is no tls.key_file beside it.", "Set both or none."
    if tls.key_file is not None and tls.certificate_file is None:
        yield ("tls", "key_file"), "there is no tls.certificate_file beside it.", "Set both or none."


def _check_acme(configuration: Configuration) -> Iterator[Finding]:
    acme = configuration.acme
    if not acme.directory:
        return
    if not _is_https(acme.directory):
        yield ("acme", "directory"), f"{acme.directory[:100]!a} is not an https URL.", "Write the authority's own."
    if not acme.terms_agreed:
        remedy = "Read the authority's terms of service, then set acme.terms_agreed = true."
        yield ("acme", "terms_agreed"), "no authority issues without your agreement to its terms.", remedy
    if acme.email and not _EMAIL.match(acme.email):
        yield ("acme", "email"), f"{acme.email[:100]!a} is no address of mail.", "Write NAME@DOMAIN, or leave it out."
    if configuration.tls.certificate_file is not None:
        remedy = "Take tls.certificate_file and tls.key_file away, or acme.directory."
        yield ("acme", "directory"), "there is a certificate from files already.", remedy
    if acme.retry_longest < acme.retry_first:
        yield ("acme", "retry_longest"), "it is shorter than acme.retry_first.", "Set it to hours."


def _check_database(configuration: Configuration) -> Iterator[Finding]:
    url = configuration.database.url
    if url and not re.match(r"(?:sqlite|postgresql)(?:\+[a-z0-9_]+)?://", url):
        yield ("database", "url"), "it is not the URL of a database that we know.", "Write sqlite:// or postgresql://…"


def _check_control(configuration: Configuration) -> Iterator[Finding]:
    control = configuration.control
    if control.disconnected_after <= control.heartbeat_interval:
        yield (
            ("control", "disconnected_after"),
            "machines would count as disconnected between two heartbeats.",
            "Set it above control.heartbeat_interval.",
        )


def _check_identity(configuration: Configuration) -> Iterator[Finding]:
    identity = configuration.identity
    for name, text in (("issuer", identity.issuer), ("login_endpoint", identity.login_endpoint)):
        if text and not _is_https(text):
            yield ("identity", name), f"{text[:100]!a} is not an https URL.", "Write it as the issuer's document does."
    if identity.issuer and not identity.audience:
        remedy = "Name the audience that tokens for this API have."
        yield ("identity", "audience"), "without it, tokens for other services would be taken too.", remedy
    if not identity.issuer and not identity.embedded:
        remedy = "Name an identity.issuer, or leave our own one on."
        yield ("identity", "embedded"), "nobody could sign in.", remedy


def _is_https(text: str) -> bool:
    try:
        return parse_url(text).is_tls
    except InputError:
        return False


def _check_gateway(configuration: Configuration) -> Iterator[Finding]:
    gateway = configuration.gateway
    if gateway.control_url:
        yield from _check_control_url(gateway.control_url)
    for network in gateway.open_networks:
        if network.prefixlen == 0:
            yield (
                ("gateway", "open_networks"),
                f"{network} would open every network, the gateway's own host too.",
                "Name the networks that your targets are in.",
            )
    try:
        SystemResolver(servers=gateway.dns_servers)
    except InputError as error:
        yield ("gateway", "dns_servers"), error.sentence, error.remedy
    for name, address in gateway.hosts.items():
        yield from _check_host(name, address)


def _check_control_url(text: str) -> Iterator[Finding]:
    try:
        url = parse_url(text)
    except InputError as error:
        yield ("gateway", "control_url"), f"{error.sentence} {error.cause}.", "Write https://management.<domain>."
        return
    if not url.is_tls:
        yield ("gateway", "control_url"), "it must begin with https.", "Write https://management.<domain>."


def _check_host(name: str, address: str) -> Iterator[Finding]:
    path = ("gateway", "hosts", name)
    try:
        normalised = parse_host_name(name)
        ip_address(address)
    except InputError as error:
        yield path, error.sentence, "Write NAME = ADDRESS."
    except ValueError:
        yield path, f"{address!a} is not an IP address.", "Write NAME = ADDRESS."
    else:
        if normalised != name:
            yield path, "the name is not in its usual form.", f"Write {normalised}."
