"""The surroundings as the agent's files say: read again when a file has changed, kept when one is damaged."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Generic, TypeVar

import structlog

from arcgate.agent.automatic_proxies import AutomaticProxies, load_automatic_proxies
from arcgate.agent.cloud import Cloud, load_cloud
from arcgate.agent.inspection_ca import inspection_files, read_authorities
from arcgate.agent.local_settings import LocalSettings, load_settings
from arcgate.agent.outbound import Outbound
from arcgate.agent.paths import AgentPaths
from arcgate.agent.proxy_credentials import ProxyCredentials, credentials_file, read_credentials
from arcgate.agent.refused_credentials import SharedRefused
from arcgate.agent.state import is_running, read_arcproxy_state, read_goal, read_identity
from arcgate.agent.surroundings import GatewayPlace, Surroundings, Timeouts
from arcgate.core.errors import ArcgateError, StateError
from arcgate.core.hand_over import HandOverMode, HandOverPolicy
from arcgate.core.names import HostName, Target, parse_host
from arcgate.core.patterns import EndpointPattern
from arcgate.core.routing import Goal, Routing, bypassed_control_hosts
from arcgate.net.files import signature_of
from arcgate.net.proxy_mechanisms import ProxyAccess
from arcgate.net.resolver import Resolver, SystemResolver

_log = structlog.get_logger(__name__)

Value = TypeVar("Value")
Signature = tuple[object, ...]

LOOPBACK = parse_host("127.0.0.1")


class _Part(Generic[Value]):
    """One value that is made from files; a failure keeps the last good one and is logged once."""

    def __init__(self, name: str, files: Callable[[], Iterable[Path]], load: Callable[[], Value], first: Value) -> None:
        self._name = name
        self._files = files
        self._load = load
        self._signature: Signature | None = None
        self._was_loaded = False
        self.value = first
        self.problem: ArcgateError | None = None

    def refresh(self) -> bool:
        """Read again when a file has changed; say whether the part is another one now."""
        signature = tuple(signature_of(file) for file in self._files())
        if signature == self._signature:
            return False
        self._signature = signature
        try:
            self.value = self._load()
        except ArcgateError as error:
            _log.error("a file can't be used, what it last said holds", file=self._name, cause=error.one_line())
            self.problem = None if self._was_loaded else error
        else:
            self._was_loaded, self.problem = True, None
        return True


class SurroundingsWatch:
    """Holds the newest surroundings; call `refresh` to look at the files."""

    def __init__(
        self, paths: AgentPaths, environment: Mapping[str, str] | None = None, *, cloud: Cloud | None = None
    ) -> None:
        """Look at the files of `paths`; a given cloud goes before the one that the machine is connected to."""
        self._paths = paths
        self._environment = os.environ if environment is None else environment
        self._given_cloud = cloud
        self.settings = _Part("localconfig.json", self._settings_files, self._load_settings, LocalSettings())
        self.credentials = _Part(
            "the proxy's credentials", self._credentials_files, self._load_credentials, ProxyCredentials()
        )
        self.automatic = _Part[AutomaticProxies | None](
            "the PAC file", self._automatic_files, self._load_automatic, None
        )
        self.cloud = _Part[Cloud | None]("the cloud definition", self._cloud_files, self._load_cloud, cloud)
        self.goal = _Part[Goal | None]("goal.json", lambda: (paths.goal,), lambda: read_goal(paths), None)
        self.inspection = _Part("inspection.ca", self._inspection_files, self._load_inspection, "")
        self._certificate: Signature = ()
        self.current = Surroundings()
        self.refresh()

    def refresh(self) -> bool:
        """Look at the files; say whether `current` is another one now."""
        # Settings name the files of the next two.
        changed = [
            self.settings.refresh(),
            self.credentials.refresh(),
            self.automatic.refresh(),
            self.cloud.refresh(),
            self.goal.refresh(),
            self._certificate_changed(),
        ]
        changed.append(self.inspection.refresh())  # which file it is, the settings say
        if any(changed):
            self.current = self._make()
        return any(changed)

    def for_agent(self) -> Surroundings:
        """Return fresh surroundings for the agent's own requests: with Arc Proxy, while it runs."""
        self.refresh()
        # A damaged goal is replaced by asking for it again, the way that a machine without a goal takes.
        now = replace(self.current, problem=self._local_problem)
        if not now.routing.uses_gateway or not is_running(self._paths.arcproxyd_lock):
            return now
        state = read_arcproxy_state(self._paths)
        routing = now.routing
        if (state.goal_revision, state.connection_type) != (routing.goal.revision, routing.connection_type):
            return now  # it looks at the files twice a second, and still goes by what they said before
        port = state.extra.get("port", self.settings.value.arcproxy_port)
        return replace(now, arc_proxy=Target(LOOPBACK, int(port)))

    @property
    def _local_problem(self) -> ArcgateError | None:
        return self.settings.problem or self.credentials.problem or self._automatic_problem

    @property
    def _credentials(self) -> Path:
        setting = self.settings.value.values.get("proxy.credentials", "")
        return credentials_file(self._paths, setting, self._environment)

    @property
    def _credentials_source(self) -> str:
        settings = self.settings.value
        in_urls = any(one.user or one.password for one in settings.proxies)
        return settings.proxy_source if in_urls else str(self._credentials)

    def _credentials_files(self) -> tuple[Path, ...]:
        return (self._credentials,) if self._uses_credentials else ()

    @property
    def _uses_credentials(self) -> bool:
        return bool(self.settings.value.proxies) or self._pac is not None

    def _load_credentials(self) -> ProxyCredentials:
        if not self._uses_credentials:
            return ProxyCredentials()
        must_exist = bool(self.settings.value.values.get("proxy.credentials", ""))
        return read_credentials(self._credentials, must_exist=must_exist)

    @property
    def _automatic_problem(self) -> ArcgateError | None:
        """Why no PAC file chooses although one is set: what held before would not be what is wanted now."""
        used = self.automatic.value
        if self._pac is None or (used is not None and used.place == self._pac):
            return None
        return self.automatic.problem or StateError(
            "PAC_UNUSABLE",
            f"The PAC file {self._pac} can't be used.",
            cause="the log of the service says why",
            remedy="Correct it, or run 'azcmagent config clear proxy.pac'.",
        )

    @property
    def _pac(self) -> Path | None:
        place = self.settings.value.values.get("proxy.pac", "")
        return Path(place) if place else None

    def _automatic_files(self) -> tuple[Path, ...]:
        return (self._pac, self._credentials) if self._pac is not None else ()

    def _load_automatic(self) -> AutomaticProxies | None:
        return load_automatic_proxies(self._pac, self.credentials.value) if self._pac is not None else None

    def _settings_files(self) -> tuple[Path, ...]:
        return (self._paths.local_configuration,)

    def _load_settings(self) -> LocalSettings:
        settings = load_settings(self._paths, self._environment)
        for problem in settings.problems:
            if " proxy.url " in problem:
                # Without its proxy the machine would go direct, which nobody asked for.
                raise StateError(
                    "PROXY_UNUSABLE", problem, remedy="Set it again: 'azcmagent config set proxy.url URL'."
                )
            _log.warning("a setting can't be used", problem=problem)
        return settings

    def _cloud_files(self) -> tuple[Path, ...]:
        clouds = self._paths.clouds
        return (self._paths.agent_configuration, self._paths.goal, clouds, *sorted(clouds.glob("*.json")))

    def _load_cloud(self) -> Cloud | None:
        if self._given_cloud is not None:
            return self._given_cloud
        identity = read_identity(self._paths)
        return load_cloud(self._paths, identity.cloud) if identity is not None else None

    def _inspection_files(self) -> tuple[Path, ...]:
        return inspection_files(self.settings.value)

    def _load_inspection(self) -> str:
        return "".join(read_authorities(file) for file in self._inspection_files())

    def _certificate_changed(self) -> bool:
        files = (self._paths.machine_certificate, self._paths.machine_key)
        before, self._certificate = self._certificate, tuple(signature_of(file) for file in files)
        return before != self._certificate

    def _make(self) -> Surroundings:
        settings, cloud = self.settings.value, self.cloud.value
        proxies = tuple(self.credentials.value.complete(one) for one in settings.proxies)
        automatic = self.automatic.value
        proxy = automatic.stand_in if automatic is not None else proxies[0] if proxies else None
        routing = Routing(
            self.goal.value or Goal(),
            settings.connection_type,
            proxy is not None,
            settings.proxy_exemptions if automatic is None else "",
            settings.proxy_bypass + _bypassed(settings, cloud),
            own_ports=frozenset({settings.arcproxy_port}),
        )
        # For ordinary users the folder is closed: they have no certificate then, and no error either.
        has_certificate = os.path.exists(self._paths.machine_certificate) and os.path.exists(self._paths.machine_key)
        return Surroundings(
            routing=routing,
            proxy=proxy,
            further_proxies=proxies[1:] if automatic is None else (),
            automatic=automatic,
            proxy_access=ProxyAccess(
                settings.proxy_schemes, settings.values.get("proxy.keytab", ""), self._credentials_source
            ),
            gateway_address=settings.gateway_address,
            front=_front(cloud),
            control=cloud.control_hosts if cloud is not None else (),
            ca_pem=cloud.ca_pem if cloud is not None else "",
            inspection_ca=self.inspection.value,
            ping_interval=settings.values.get("inspection.pinginterval", 0),
            certificate=(self._paths.machine_certificate, self._paths.machine_key) if has_certificate else None,
            timeouts=_timeouts(settings),
            hand_over=_hand_over(settings),
            answers_early=settings.values.get("arcproxy.earlyanswer", False),
            # Without the cloud its control plane is unreachable, which himdsd reports; tunnels don't need it.
            problem=self._local_problem or self.goal.problem,
        )


def outbound_for_agent(
    paths: AgentPaths,
    environment: Mapping[str, str] | None = None,
    *,
    cloud: Cloud | None = None,
    resolver: Resolver | None = None,
) -> Outbound:
    """Return what opens the connections of himdsd and azcmagent; it follows the agent's files by itself."""
    watch = SurroundingsWatch(paths, environment, cloud=cloud)
    refused = SharedRefused(paths.refused_credentials)
    return Outbound(watch.for_agent, resolver or SystemResolver(), refused=refused)


def _bypassed(settings: LocalSettings, cloud: Cloud | None) -> tuple[EndpointPattern, ...]:
    if cloud is None or not cloud.domain:
        return ()
    return bypassed_control_hosts(settings.proxy_bypass_values, cloud.domain)


def _front(cloud: Cloud | None) -> GatewayPlace | None:
    if cloud is None or cloud.front is None:
        return None
    return GatewayPlace(HostName(str(cloud.front.host)), cloud.front.port, cloud.address)


def _hand_over(settings: LocalSettings) -> HandOverPolicy:
    usual, given = HandOverPolicy(), settings.values
    return HandOverPolicy(
        HandOverMode(given.get("arcproxy.handover", usual.mode)),
        given.get("arcproxy.handover.afterbytes", usual.bulk),
        given.get("arcproxy.handover.idle", usual.idle),
    )


def _timeouts(settings: LocalSettings) -> Timeouts:
    connect = settings.values.get("arcproxy.timeout.connect", Timeouts().dial)
    return Timeouts(connect, connect, settings.values.get("arcproxy.timeout.answer", Timeouts().answer))
