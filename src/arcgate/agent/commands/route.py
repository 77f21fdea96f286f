"""`azcmagent route`."""

import click

from arcgate.agent.commands.invocation import common_flags, invocation
from arcgate.agent.proxy.explain import explain
from arcgate.core.names import parse_target


@click.command("route")
@click.argument("target", metavar="HOST[:PORT]")
@common_flags
def command(target: str) -> None:
    """Explain the way that a request to a target takes, with the same decision that Arc Proxy makes."""
    own = invocation()
    parsed = parse_target(target, 443)
    route = explain(own.paths, parsed)
    if own.console.is_json:
        document = {"target": parsed.authority, "route": str(route.way), "reason": route.reason, "rule": route.rule}
        own.console.document(document)
    rule = f": {route.rule}" if route.rule else ""
    own.console.line(f"{parsed.authority} : {route.way} ({route.reason}{rule})")
