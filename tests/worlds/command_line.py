"""`arcgate` in the test's own process: its requests go to a control plane in the test's loop."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from arcgate.cli.main import arcgate
from arcgate.cli.profile import Profile, ProfileFolder, Tokens
from arcgate.cli.session import Session
from arcgate.net.http_client import Answer
from worlds.asgi import ask
from worlds.control_plane import AUDIENCE, BASE, ControlPlane

FAR_FUTURE = 4_000_000_000.0


@dataclass
class CommandLine:
    """Somebody who is logged in as the control plane's administrator."""

    control: ControlPlane
    folder: Path
    endpoint: str = BASE

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let sessions of commands talk to the control plane in this loop."""
        control, loop = self.control, asyncio.get_running_loop()
        endpoint = self.endpoint
        folder = ProfileFolder(self.folder)
        folder.save(Profile(endpoint=self.endpoint, audience=AUDIENCE, subscription_id=control.subscription_id))
        folder.save_tokens(Tokens(control.admin.token, FAR_FUTURE))

        async def request(_session: Session, method: str, url: str, body: Any, _token: str) -> Answer:
            place = url.removeprefix(endpoint)
            work = ask(control.app, method, place, document=body, headers=control.admin.headers)
            reply = await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
            return Answer(reply.status, reply.headers, reply.body)

        monkeypatch.setenv("ARCGATE_CONFIG_DIR", str(self.folder))
        monkeypatch.setattr(Session, "_request", request)

    async def run(self, *words: str) -> Result:
        """Run a command to its end, in a thread of its own."""
        return await asyncio.to_thread(CliRunner().invoke, arcgate, words)

    async def succeed(self, *words: str) -> str:
        """Return what a command prints that must succeed."""
        result = await self.run(*words)
        assert result.exit_code == 0, (result.output, result.exception)
        return result.stdout
