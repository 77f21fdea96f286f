"""`azcmagent check`."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import click

from arcgate.agent.arm import ResourceManager
from arcgate.agent.check.audit_history import read_carried
from arcgate.agent.check.command import Options, advise_on_rules, run
from arcgate.agent.check.page import render_page
from arcgate.agent.commands.credentials import read_secret
from arcgate.agent.commands.invocation import Invocation, common_flags, invocation
from arcgate.agent.errors import AzcmError, as_azcm
from arcgate.agent.http import client
from arcgate.agent.login import checked_token
from arcgate.agent.machine_key import now
from arcgate.agent.state import read_identity
from arcgate.agent.surroundings_watch import outbound_for_agent
from arcgate.core.errors import ArcgateError
from arcgate.core.names import Target, parse_target
from arcgate.net.files import write_file

PAGE_MODE = 0o644
"""The report names hosts, and no secrets."""


@click.command("check")
@click.option(
    "-l", "--location", default="", metavar="REGION", help="Region to check, before the machine is connected."
)
@click.option("--cloud", "cloud_name", default="", metavar="NAME", help="Cloud to check, before it is connected.")
@click.option(
    "-e",
    "--extensions",
    default="",
    metavar="NAME",
    help="Check what extensions need, too: all, sql, or a scenario's name.",
)
@click.option("-p", "--enable-pls-check", is_flag=True, help="Expect private addresses of the cloud's own endpoints.")
@click.option("--include-all", is_flag=True, help="Check every exact name that the gateway allows, too.")
@click.option("--endpoint", "endpoints", multiple=True, metavar="HOST[:PORT]", help="Check this, too; repeatable.")
@click.option("--html", default="", metavar="FILE", help="Write the report as a page as well, to keep or to send.")
@click.option(
    "--which-rules-may-go",
    is_flag=True,
    help="Try nothing; tell from Arc Proxy's log which firewall rules nothing needed without the gateway.",
)
@click.option(
    "--hours",
    type=click.IntRange(1, 8760),
    default=24,
    show_default=True,
    help="Span of the log that --which-rules-may-go looks at.",
)
@click.option(
    "--audit-token",
    default="",
    metavar="FILE",
    help="File with an access token: --which-rules-may-go asks the cloud's audit, too.",
)
@common_flags
def command(
    location: str,
    cloud_name: str,
    extensions: str,
    enable_pls_check: bool,
    include_all: bool,
    endpoints: tuple[str, ...],
    html: str,
    which_rules_may_go: bool,
    hours: int,
    audit_token: str,
) -> None:
    """Check the network: every endpoint that the agent needs, hop by hop, by the way that it takes."""
    own = invocation()
    if which_rules_may_go:
        _advise(own, hours, audit_token)
        return
    try:
        options = Options(
            location=location,
            cloud=cloud_name,
            extra=tuple(parse_target(text, 443) for text in endpoints),
            include_all=include_all,
            extensions=extensions,
            expects_private=enable_pls_check,
        )
        report = asyncio.run(run(own.paths, own.environment, options, own.console.progress))
    except ArcgateError as error:
        raise as_azcm(error) from None
    if html:
        _write(Path(html), render_page(report, now()))
    if own.console.is_json:
        own.console.document(report.to_json())
    for line in report.lines():
        own.console.line(line)
    if report.exit_code:
        click.get_current_context().exit(report.exit_code)


def _advise(own: Invocation, hours: int, audit_token: str) -> None:
    moment = now()
    audit = _read_audit(own, moment - timedelta(hours=hours), Path(audit_token)) if audit_token else ({}, ())
    report = advise_on_rules(own.paths, own.environment, moment, hours, audit)
    if own.console.is_json:
        own.console.document(report.to_json())
    for line in report.lines():
        own.console.line(line)


def _read_audit(own: Invocation, since: datetime, file: Path) -> tuple[dict[Target, datetime], tuple[str, ...]]:
    token = checked_token(read_secret(file))
    identity = read_identity(own.paths)
    if identity is None:
        return {}, ("The audit was not asked: this machine is not connected.",)
    cloud = own.cloud(identity.cloud)
    http = client(outbound_for_agent(own.paths, own.environment, cloud=cloud), cloud.ca_pem)
    return asyncio.run(read_carried(ResourceManager(http, cloud.resource_manager, token), identity, since))


def _write(path: Path, page: str) -> None:
    try:
        write_file(path, page, PAGE_MODE)
    except OSError as error:
        raise AzcmError(101, f"The report can't be written to {path}.", cause=error.strerror or str(error)) from None
