"""One version of an extension's handler: gives it its settings, runs its commands, and reads what it says."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arcgate.agent.extensions.folders import HandlerFolders, read_bounded
from arcgate.agent.extensions.handler_process import CommandEnd, run_command
from arcgate.agent.extensions.processor_limit import ProcessorLimit
from arcgate.agent.extensions.sealed_for_handler import HandlerCertificate
from arcgate.core.errors import InputError
from arcgate.core.extension_lifecycle import Command
from arcgate.core.extension_report import HandlerWords
from arcgate.core.handler_documents import (
    HandlerManifest,
    HandlerState,
    environment_document,
    read_heartbeat,
    read_manifest,
    read_status,
    settings_document,
)
from arcgate.net.files import write_file, write_json

HEARTBEAT_LIFE = 600.0
"""Seconds after which a heartbeat is too old."""
COMMAND_LOG = "CommandExecution.log"

_TAKES_SETTINGS = (Command.INSTALL, Command.UPDATE, Command.ENABLE)


@dataclass(frozen=True, slots=True)
class Order:
    """One run of a command. `settings` None leaves the files of settings as they are; `timeout` is in seconds."""

    command: Command
    sequence: int
    timeout: float
    percent: int
    """Of all processors."""
    environment: Mapping[str, str]
    settings: Mapping[str, Any] | None = None
    protected: Mapping[str, Any] | None = None
    is_update: bool = False
    before: str = ""
    """The version that an update comes from."""


@dataclass(frozen=True, slots=True)
class Handler:
    """The handler in these folders, as the extension of that name has it."""

    name: str
    version: str
    folders: HandlerFolders
    limit: ProcessorLimit

    def manifest(self) -> HandlerManifest:
        """Return its manifest; raises InputError (HANDLER_MANIFEST_INVALID)."""
        try:
            data = read_bounded(self.folders.version / "HandlerManifest.json")
        except ValueError as error:
            raise InputError("HANDLER_MANIFEST_INVALID", f"HandlerManifest.json: {error}.") from None
        if data is None:
            raise InputError("HANDLER_MANIFEST_INVALID", "The files of the extension are not there any more.")
        return read_manifest(data)

    async def run(self, order: Order) -> str:
        """Run a command; return why it failed, as a sentence, empty after a success. Raises InputError or OSError."""
        manifest = self.manifest()
        await self.limit.prepare()
        if order.is_update and order.command is Command.INSTALL and not manifest.updates_with_install:
            return ""
        self._give_settings(order)
        words = manifest.commands[order.command]
        program = str(self.folders.version / words[0])
        given = b""
        if manifest.takes_protected_settings and order.command in _TAKES_SETTINGS:
            given = json.dumps(dict(order.protected or {})).encode() + b"\n"
        end = await run_command(
            self.limit.wrapped([program, *words[1:]], order.percent),
            self.folders.version,
            {**order.environment, **self._variables(order)},
            order.timeout,
            given,
        )
        self._log(order.command, end)
        if not end.failure:
            return ""
        said = self.words(order.sequence, is_fresh=True).status if order.command is Command.ENABLE else None
        more = f" {said.message}" if said is not None and said.state is HandlerState.ERROR else ""
        return f"The handler's command {order.command} of version {self.version} {end.failure.rstrip('.')}.{more}"

    def words(self, sequence: int, *, is_fresh: bool) -> HandlerWords:
        """Return what the handler's files say; a fresh one has not had the time for a heartbeat."""
        status, problem = None, ""
        try:
            data = read_bounded(self.folders.status / f"{sequence}.status")
            status = read_status(data) if data is not None else None
        except ValueError as error:
            problem = str(error)
        is_alive, pulse = self._pulse(is_fresh)
        return HandlerWords(status, problem, is_alive, pulse)

    def _pulse(self, is_fresh: bool) -> tuple[bool, str]:
        try:
            if not self.manifest().reports_heartbeat:
                return True, ""
            age = time.time() - self.folders.heartbeat.stat().st_mtime
            if age > HEARTBEAT_LIFE:
                return is_fresh, f"The handler's last heartbeat was {int(age)} s ago."
            is_ready, message = read_heartbeat(read_bounded(self.folders.heartbeat) or b"")
            return is_ready, "" if is_ready else message or "The handler says that it is not ready."
        except FileNotFoundError:
            return is_fresh, "The handler has sent no heartbeat."
        except (InputError, OSError) as error:
            return False, str(error)
        except ValueError as error:
            return False, f"The handler is there, but {error}."

    def _give_settings(self, order: Order) -> None:
        self.folders.prepare()
        document = environment_document(
            self.name, self.version, self.folders.environment(), order.sequence, is_update=order.is_update
        )
        write_json(self.folders.version / "HandlerEnvironment.json", document)
        if order.settings is None:
            return
        protected, thumbprint = "", ""
        if order.protected:
            certificate = HandlerCertificate.in_folder(self.folders.extension)
            thumbprint = certificate.thumbprint
            protected = certificate.seal(json.dumps(dict(order.protected)).encode())
        write_json(
            self.folders.config / f"{order.sequence}.settings",
            settings_document(order.settings, protected, thumbprint),
        )
        self.folders.forget_old()

    def _variables(self, order: Order) -> dict[str, str]:
        found = {
            "ConfigSequenceNumber": str(order.sequence),
            "AZURE_GUEST_AGENT_EXTENSION_PATH": str(self.folders.version),
            "AZURE_GUEST_AGENT_EXTENSION_VERSION": self.version,
            "AZURE_GUEST_AGENT_EXTENSION_NAME": self.name,
        }
        if order.before:
            found |= {"VERSION": self.version, "AZURE_GUEST_AGENT_UPDATING_FROM_VERSION": order.before}
        return found

    def _log(self, command: Command, end: CommandEnd) -> None:
        """Keep the output of the last run of each command; it is root's alone."""
        head = f"{self.version} {command}: {end.problem or end.code}\n".encode()
        write_file(self.folders.log / f"{command}-{COMMAND_LOG}", head + end.output)
