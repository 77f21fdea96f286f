"""`azcmagent logs`."""

import json
import socket
from pathlib import Path

import click

from arcgate.agent.commands.invocation import common_flags, invocation
from arcgate.agent.log_archive import sources, write_archive
from arcgate.agent.machine_key import now
from arcgate.agent.present import read_facts
from arcgate.agent.show import as_document, as_lines, fields_of


@click.command("logs")
@click.option("-o", "--output", default="", metavar="FILE", help="Zip file to write; it must not exist yet.")
@common_flags
def command(output: str) -> None:
    """Collect logs, settings and status in a zip file, without secrets. Run it with sudo, to have all of them."""
    own = invocation()
    moment = now()
    host = "".join(one if one.isalnum() or one == "-" else "-" for one in socket.gethostname())
    path = Path(output or f"azcmagent-logs-{moment:%y%m%dT%H%M%S}-{host}.zip")
    fields = fields_of(read_facts(own.paths, own.environment, own.platform, moment), with_os=True)
    texts = {
        "show.txt": "\n".join(as_lines(fields)) + "\n",
        "show.json": json.dumps(as_document(fields), indent=2, ensure_ascii=False) + "\n",
    }
    notes = write_archive(path, sources(own.paths, own.platform, own.environment), texts)
    if own.console.is_json:
        own.console.document({"file": str(path.absolute()), "notes": notes})
    for note in notes:
        own.console.info(note)
    own.console.line(f"Logs were written to {path.absolute()}")
