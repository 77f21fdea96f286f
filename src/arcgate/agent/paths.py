"""Where the agent's files are: one place for docs/reference/protocols.md, section 7."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from arcgate.agent.platform import Layout, Platform, current

PUBLIC = 0o644
"""Files that `azcmagent show` reads without privileges."""
SHARED = 0o640
"""Files that only the agent's services may read."""


@dataclass(frozen=True, slots=True)
class AgentPaths:
    """All files of the agent; `is_moved` says that AZCMAGENT_HOME leads away from the system's own folders."""

    layout: Layout
    clouds: Path
    is_moved: bool = False

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, platform: Platform | None = None
    ) -> "AgentPaths":
        """Return the paths that AZCMAGENT_HOME and AZCMAGENT_CLOUDS say, or the platform's own."""
        environment = os.environ if environment is None else environment
        home = environment.get("AZCMAGENT_HOME", "")
        layout = (platform or current()).layout(environment, Path(home) if home else None)
        clouds = environment.get("AZCMAGENT_CLOUDS", "")
        return cls(layout, Path(clouds) if clouds else layout.clouds, bool(home))

    @property
    def home(self) -> Path:
        """The folder of it all."""
        return self.layout.home

    @property
    def agent_configuration(self) -> Path:
        """Identity of the machine."""
        return self.layout.configuration / "agentconfig.json"

    @property
    def local_configuration(self) -> Path:
        """Settings of `azcmagent config`."""
        return self.layout.configuration / "localconfig.json"

    @property
    def machine_key(self) -> Path:
        """Private key of the machine."""
        return self.layout.certificates / "machine.key"

    @property
    def machine_certificate(self) -> Path:
        """Certificate chain of the machine, leaf first."""
        return self.layout.certificates / "machine.pem"

    @property
    def proxy_credentials(self) -> Path:
        """Users and passwords that `config set proxy.url` was given; where the setting proxy.credentials is empty."""
        return self.layout.certificates / "proxy-credentials"

    @property
    def goal(self) -> Path:
        """The last good goal."""
        return self.layout.state / "goal.json"

    @property
    def extensions(self) -> Path:
        """The extensions that the cloud wants here, with their settings."""
        return self.layout.state / "extensions.json"

    @property
    def extension_statuses(self) -> Path:
        """What came of each wanted extension."""
        return self.layout.state / "extension-status.json"

    @property
    def himds_state(self) -> Path:
        """What himdsd last did."""
        return self.layout.state / "himds.json"

    @property
    def arcproxy_state(self) -> Path:
        """What arcproxyd runs with."""
        return self.layout.state / "arcproxy.json"

    @property
    def refused_credentials(self) -> Path:
        """Which credentials enterprise proxies have refused, and when."""
        return self.layout.state / "refused-credentials.json"

    @property
    def himdsd_lock(self) -> Path:
        """Held while himdsd runs."""
        return self.layout.state / "himdsd.lock"

    @property
    def arcproxyd_lock(self) -> Path:
        """Held while arcproxyd runs."""
        return self.layout.state / "arcproxyd.lock"

    @property
    def extd_lock(self) -> Path:
        """Held while extd runs."""
        return self.layout.state / "extd.lock"

    @property
    def extd_log(self) -> Path:
        """Log of extd."""
        return self.layout.log / "extd.log"

    @property
    def azcmagent_log(self) -> Path:
        """Log of the command."""
        return self.layout.log / "azcmagent.log"

    @property
    def himds_log(self) -> Path:
        """Log of himdsd."""
        return self.layout.log / "himds.log"

    @property
    def arcproxy_log(self) -> Path:
        """Log of arcproxyd: the route of every request."""
        return self.layout.log / "arcproxy.log"

    @property
    def tokens(self) -> Path:
        """Challenge files of the token endpoint."""
        return self.layout.tokens

    def prepare(self, platform: Platform | None = None) -> None:
        """Make the folders: certificates and tokens for the services alone, the rest readable by all."""
        platform = platform or current()
        # Services of other users than root write state and logs, by their group.
        is_shared = platform.has_group()
        writable = 0o2775 if is_shared else 0o755
        closed = 0o2770 if is_shared else 0o700
        layout = self.layout
        for folder, mode in (
            (layout.home, 0o755),
            (layout.configuration, 0o755),
            (layout.state, writable),
            (layout.log, writable),
            (layout.certificates, closed),
            (layout.tokens, closed),
        ):
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
                platform.share(folder, mode)
