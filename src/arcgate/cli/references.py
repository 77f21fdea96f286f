"""docs/reference: the pages that are made from the code, all of them in one place."""

import click

from arcgate.agent.settings_property import Property
from arcgate.agent.settings_table import PROPERTIES
from arcgate.cli.command_reference import GENERATED, render_arcgate, render_azcmagent
from arcgate.cli.configuration_reference import render_reference
from arcgate.cli.scenario_reference import render_scenarios
from arcgate.core.catalogue import Feature, shipped_catalogue
from arcgate.core.verdicts import ALLOWING, ENDINGS, EXPLANATIONS

SETTINGS_HEAD = f"""# The agent's settings

*For admins of machines.* {GENERATED}

`azcmagent config set PROPERTY VALUE`, `get`, `list`, `clear` and `info`; they are kept in `localconfig.json`. Lists
are separated by commas, and `--add` and `--remove` change some of their items. Running services follow a change
within half a second.

| property | values | default | meaning |
|---|---|---|---|"""

REASONS_HEAD = f"""# Reason codes

*For admins who read the audit or a refusal.* {GENERATED} Codes are stable: none is ever renamed.

## Allowed

`feature`, `endpoint_set` and `control_plane` say what allowed a tunnel; the record's `feature` and `rule` name it. A
record whose verdict is `audited` has the code of a refusal: the tunnel passed because the policy is in audit mode.

## Refused by the gateway

The answer to CONNECT has the status, and the code in `Arcgate-Reason` and in its JSON body.

| code | status | meaning | what to do |
|---|---|---|---|"""

OWN_REFUSALS = """
## Refused by Arc Proxy

Arc Proxy passes the gateway's refusals on. Its own have the same form, a code that names the failure (such as
`proxy_unreachable` or `route_refused`), and `hop`, the hop that failed: `DNS`, `TCP`, `proxy`, `TLS`, `gateway`,
`policy` or `target`. Sentence and remedy are in the answer and in `arcproxy.log`.

## How tunnels end

The `reason` of end records:

| code | meaning |
|---|---|"""

FEATURES_HEAD = f"""# Features

*For operators who choose a gateway's `--allowed-features`.* {GENERATED}

A feature is a named set of endpoint patterns; `*` (quoted) stands for all of them and all endpoint sets of the tenant.
A pattern without a port means 443; `*.` stands for any name below, at any depth. Source: """


def pages(arcgate: click.Group) -> dict[str, str]:
    """Return the pages by file name."""
    return {
        "agent-settings.md": render_settings(),
        "arcgate.md": render_arcgate(arcgate),
        "azcmagent.md": render_azcmagent(),
        "configuration.md": render_reference(),
        "features.md": render_features(),
        "reason-codes.md": render_reasons(),
        "scenarios.md": render_scenarios(),
    }


def render_settings() -> str:
    """Return the page of the agent's settings."""
    ordered = sorted(PROPERTIES.values(), key=lambda one: one.name)
    return "\n".join([SETTINGS_HEAD, *(_setting(one) for one in ordered), ""])


def _setting(one: Property) -> str:
    default = one.show(one.default)
    idle = "" if one.has_effect else " *Kept for scripts that set it: nothing acts on it yet.*"
    return f"| `{one.name}` | {one.values} | {f'`{default}`' if default else ''} | {one.help}{idle} |"


def render_reasons() -> str:
    """Return the page of reason codes."""
    refusals = [
        f"| `{reason}` | {one.status} | {one.sentence} | {one.remedy} |"
        for reason, one in EXPLANATIONS.items()
        if reason not in ALLOWING
    ]
    endings = [f"| `{reason}` | {meaning} |" for reason, meaning in ENDINGS.items()]
    return "\n".join([REASONS_HEAD, *refusals, OWN_REFUSALS, *endings, ""])


def render_features() -> str:
    """Return the page of the catalogue's features."""
    catalogue = shipped_catalogue()
    sections = [line for feature in catalogue.features.values() for line in _feature(feature)]
    return "\n".join([f"{FEATURES_HEAD}{catalogue.source}.", "", *sections])


def _feature(feature: Feature) -> list[str]:
    patterns = [f"- `{pattern}`" for pattern in feature.endpoints]
    return [f"## {feature.name}", "", f"{feature.title}. {feature.purpose}", "", *patterns, ""]
