"""`arcgate firewall-rules`: writes what must be open for machines."""

import asyncio
from collections.abc import Callable, Sequence

import click

from arcgate.cli.firewall.appliances import render_azure_firewall, render_fortigate, render_paloalto
from arcgate.cli.firewall.lists import render_list, render_pac
from arcgate.cli.firewall.nftables import render_nftables
from arcgate.cli.firewall.openings import Opening, Rules, for_domain, for_features, for_gateways
from arcgate.cli.firewall.squid import render_squid
from arcgate.cli.resource_options import SpreadCommand, list_path, refuse_expanded_star, split_values
from arcgate.cli.session import HYBRID_COMPUTE, Session, run
from arcgate.core.catalogue import shipped_catalogue
from arcgate.core.errors import HopError, InputError
from arcgate.core.names import Address, HostName, Target, parse_host_name, parse_target
from arcgate.core.resource_ids import GATEWAY_TYPE
from arcgate.net.resolver import Resolver, SystemResolver

PLAIN: dict[str, Callable[[Sequence[Opening]], Rules]] = {
    "squid": render_squid,
    "paloalto-edl": render_paloalto,
    "fortigate": render_fortigate,
    "azure-firewall": render_azure_firewall,
    "csv": render_list,
}
FORMATS = ("squid", "nftables", "paloalto-edl", "fortigate", "azure-firewall", "pac", "csv")


@click.command("firewall-rules", cls=SpreadCommand, spread=["--direct-for", "--gateway"])
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="For which firewall or proxy.")
@click.option(
    "--gateway",
    "gateways",
    multiple=True,
    metavar="NAME…",
    help="Gateways, by their resources' names or as HOST[:PORT]; default: all of the subscription.",
)
@click.option(
    "--names",
    type=click.Choice(["one", "seven"]),
    default="one",
    show_default=True,
    help="The gateway's name alone; or also the cloud's own, for machines that reach those past the gateway.",
)
@click.option(
    "--direct-for",
    "features",
    multiple=True,
    metavar="FEATURE…",
    help="Machines without a gateway: open the cloud's names, and what these features or scenarios need.",
)
@click.option("--domain", default="", help="The cloud's domain, for --direct-for without a login.")
@click.option("--proxy", default="", metavar="HOST:PORT", help="The proxy that a PAC file names.")
@click.option("--subscription", metavar="NAME_OR_ID", help="Default: the current one.")
def firewall_command(
    form: str,
    gateways: tuple[str, ...],
    names: str,
    features: tuple[str, ...],
    domain: str,
    proxy: str,
    subscription: str | None,
) -> None:
    """Write what a firewall or proxy must open for connected machines. What the format can't say is told beside it."""
    if form == "pac" and not proxy:
        raise click.UsageError("a PAC file needs --proxy HOST:PORT.")
    chosen = split_values(features)
    refuse_expanded_star("--direct-for", chosen)
    if chosen:
        openings = _direct(chosen, domain)
    else:
        targets = run(find_gateways(split_values(gateways), subscription))
        openings = for_gateways(targets, seven=names == "seven")
    rules = _render(form, openings, proxy)
    click.echo(rules.text, nl=False)
    for note in rules.notes:
        click.echo(f"Note: {note}", err=True)


def _direct(features: list[str], domain: str) -> list[Opening]:
    wanted = for_features(shipped_catalogue(), features)
    if domain:
        return [*for_domain(parse_host_name(domain)), *wanted]
    place = _endpoint(Session.open())
    name, _, own = str(place.host).partition(".")
    if name != "management":
        raise InputError(
            "DOMAIN_UNKNOWN", f"{place.host} does not tell the cloud's domain.", remedy="Give it: --domain DOMAIN."
        )
    return [*for_domain(HostName(own), place.port), *wanted]


def _endpoint(session: Session) -> Target:
    """Return the resource manager's place; all names of a cloud have its port."""
    return parse_target(session.profile.endpoint.rpartition("//")[2], 443)


async def find_gateways(given: list[str], subscription: str | None) -> list[Target]:
    """Return the gateways' places: of hosts as they are, of names and of none by the control plane."""
    hosts = [parse_target(one, 443) for one in given if "." in one]
    names = [one.lower() for one in given if "." not in one]
    if given and not names:
        return hosts
    session = Session.open()
    known = await session.list_all(
        list_path(await session.find_subscription(subscription), None, GATEWAY_TYPE), HYBRID_COMPUTE
    )
    port = _endpoint(session).port
    places = {str(one["name"]).lower(): parse_target(one["properties"]["gatewayEndpoint"], port) for one in known}
    missing = [name for name in names if name not in places]
    if missing or not places:
        raise InputError(
            "GatewayNotFound",
            f"There is no gateway {', '.join(missing)}." if missing else "There is no gateway yet.",
            remedy=f"Known are: {', '.join(places) or 'none'}.",
        )
    return hosts + [places[name] for name in names or places]


def _render(form: str, openings: list[Opening], proxy: str) -> Rules:
    if form == "nftables":
        exact = [one.host for one in openings if not one.is_network and not one.has_star]
        return render_nftables(openings, asyncio.run(resolve(exact, SystemResolver())))
    if form == "pac":
        return render_pac(openings, parse_target(proxy, 3128).authority)
    return PLAIN[form](openings)


async def resolve(names: Sequence[str], resolver: Resolver) -> dict[str, list[Address]]:
    """Return the addresses of the names that have some."""
    found: dict[str, list[Address]] = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = list(await resolver.resolve(HostName(name)))
        except HopError:
            continue
    return found
