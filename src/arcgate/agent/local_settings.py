"""The machine's own settings: localconfig.json, what changes it, and the view of it that services work with."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from arcgate.agent.errors import AzcmError
from arcgate.agent.paths import PUBLIC, SHARED, AgentPaths
from arcgate.agent.settings_property import Kind
from arcgate.agent.settings_table import PROPERTIES, parse_proxies, property_of
from arcgate.agent.stored_document import Document, StoredDocument
from arcgate.core.addresses import AddressClass, classify
from arcgate.core.errors import InputError
from arcgate.core.names import Target, parse_target
from arcgate.core.patterns import EndpointPattern
from arcgate.core.routing import ConnectionType, parse_proxy_bypass
from arcgate.core.urls import Url, parse_url
from arcgate.wire.proxy_authentication import Scheme

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy")


def _mode_of(document: Document) -> int:
    # proxy.url may hold a password; without one, `show` works for every user.
    return SHARED if "@" in str(document.get("proxy.url", "")) else PUBLIC


class SettingsFile:
    """localconfig.json: a flat object with dotted keys; a missing key has its default."""

    def __init__(self, paths: AgentPaths) -> None:
        self._stored = StoredDocument(paths.local_configuration, _mode_of)

    def read(self) -> Document:
        """Return what is set; raises StateError (FILE_UNREADABLE)."""
        return self._stored.read() or {}

    def get(self, name: str) -> Any:
        """Return the value of a property, its default when it isn't set; raises AzcmError 23."""
        return self.read().get(name, property_of(name).default)

    def set(self, name: str, text: str) -> Any:
        """Set a property to the value that `text` spells and return that; raises AzcmError 23."""
        value = property_of(name).parse(text)
        property_of(name).look_at(text)
        self._stored.change(lambda document: {**document, name: value})
        return value

    def add(self, name: str, text: str) -> Any:
        """Add items to a list; see `set`."""
        items = self._items(name, text)
        return self._change_list(name, lambda known: known + [item for item in items if item not in known])

    def remove(self, name: str, text: str) -> Any:
        """Remove items from a list; see `set`."""
        items = self._items(name, text)
        return self._change_list(name, lambda known: [item for item in known if item not in items])

    def clear(self, name: str) -> Any:
        """Set a property back to its default and return that; raises AzcmError 23."""
        default = property_of(name).default
        self._stored.change(lambda document: {key: value for key, value in document.items() if key != name})
        return default

    @staticmethod
    def _items(name: str, text: str) -> list[str]:
        one = property_of(name)
        if one.kind is not Kind.LIST:
            raise AzcmError(23, f"{name} is not a list.", remedy="Leave --add and --remove out.")
        return one.parse_items(text)

    def _change_list(self, name: str, edit: Any) -> Any:
        def change(document: Document) -> Document:
            known = document.get(name, [])
            return {**document, name: edit(known if isinstance(known, list) else [])}

        return self._stored.change(change)[name]


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """The settings parsed, as services and checks use them; values that can't be used count as not set."""

    connection_type: ConnectionType = ConnectionType.DEFAULT
    proxies: tuple[Url, ...] = ()
    """The enterprise proxies, in the order in which they are tried."""
    proxy_source: str = ""
    """proxy.url, or the environment variable that the proxies are from."""
    proxy_exemptions: str = ""
    """NO_PROXY, where the proxy is the environment's."""
    proxy_bypass: tuple[EndpointPattern, ...] = ()
    proxy_bypass_values: tuple[str, ...] = ()
    himds_port: int = 40342
    arcproxy_port: int = 40343
    arcproxy_log_level: str = "info"
    gateway_address: Target | None = None
    check_endpoints: tuple[Target, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    """All properties by name, defaults included."""
    problems: tuple[str, ...] = ()
    """One sentence for each stored value that can't be used."""

    @property
    def proxy_url(self) -> Url | None:
        """The enterprise proxy, the first one of several."""
        return self.proxies[0] if self.proxies else None

    @property
    def proxy_schemes(self) -> tuple[Scheme, ...]:
        """How the agent may authenticate to proxies."""
        return tuple(Scheme(one) for one in self.values.get("proxy.authentication", ())) or tuple(Scheme)


def load_settings(paths: AgentPaths, environment: Mapping[str, str] | None = None) -> LocalSettings:
    """Return the settings of the machine; raises StateError (FILE_UNREADABLE)."""
    environment = os.environ if environment is None else environment
    return settings_of(SettingsFile(paths).read(), environment)


def settings_of(document: Mapping[str, Any], environment: Mapping[str, str]) -> LocalSettings:
    """Return the view of a document of localconfig.json; pure."""
    values: dict[str, Any] = {}
    problems: list[str] = []
    for one in PROPERTIES.values():
        value = document.get(one.name, one.default)
        if not one.is_valid(value):
            problems.append(f"The stored value of {one.name} can't be used; the default holds.")
            value = one.default
        values[one.name] = value
    proxies, source = _proxies(values["proxy.url"], environment, problems)
    if any(_is_arc_proxy(proxy, values["arcproxy.port"]) for proxy in proxies):
        # HTTPS_PROXY of the whole machine may well name Arc Proxy: for other programs, not for ourselves.
        if source == "proxy.url":
            problems.append("proxy.url names Arc Proxy itself; no enterprise proxy is used.")
        proxies, source = (), ""
    return LocalSettings(
        connection_type=ConnectionType(values["connection.type"]),
        proxies=proxies,
        proxy_source=source,
        proxy_exemptions=_exemptions(environment) if source in PROXY_VARIABLES else "",
        proxy_bypass=parse_proxy_bypass(values["proxy.bypass"]),
        proxy_bypass_values=tuple(values["proxy.bypass"]),
        himds_port=values["himds.port"],
        arcproxy_port=values["arcproxy.port"],
        arcproxy_log_level=values["arcproxy.log.level"],
        gateway_address=parse_target(values["gateway.address"]) if values["gateway.address"] else None,
        check_endpoints=tuple(parse_target(text, 443) for text in values["check.endpoints"]),
        values=values,
        problems=tuple(problems),
    )


def _is_arc_proxy(proxy: Url, port: int) -> bool:
    host = proxy.target.host
    is_local = host == "localhost" if isinstance(host, str) else classify(host) is AddressClass.LOOPBACK
    return is_local and proxy.target.port == port


def _exemptions(environment: Mapping[str, str]) -> str:
    return environment.get("NO_PROXY") or environment.get("no_proxy") or ""


def _proxies(setting: str, environment: Mapping[str, str], problems: list[str]) -> tuple[tuple[Url, ...], str]:
    """Return proxies and source: proxy.url goes before the environment."""
    if setting:
        return parse_proxies(setting), "proxy.url"
    for name in PROXY_VARIABLES:
        if text := environment.get(name, "").strip():
            try:
                # curl and others take HOST:PORT here as well.
                return (parse_url(text if "://" in text else f"http://{text}"),), name
            except InputError as error:
                problems.append(f"{name} of the environment can't be used: {error.sentence}")
    return (), ""
