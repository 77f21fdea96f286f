"""Keeps one extension at its goal: chooses its version, fetches it, and runs the commands that its life asks for."""

import asyncio
import contextlib
import random
import time
from dataclasses import dataclass, field, replace

import structlog

from arcgate.agent.extension_state import WantedExtension
from arcgate.agent.extensions.handler import HEARTBEAT_LIFE, Handler, Order
from arcgate.agent.extensions.surroundings import ExtensionWorld, command_environment, public_settings
from arcgate.core.errors import ArcgateError
from arcgate.core.extension_lifecycle import TRANSITIONS, Command, Record, Stage, Wish, after, begin, objection
from arcgate.core.extension_permission import refusal
from arcgate.core.extension_report import HandlerWords, refused, report
from arcgate.net.backoff import Backoff
from arcgate.net.files import signature_of
from arcgate.net.tasks import cancel, spawn

_log = structlog.get_logger(__name__)

LOOK_INTERVAL = 1.0
"""Seconds between looks at a handler's status while its command runs."""
UPGRADE_INTERVAL = 3600.0
"""Seconds between looks for newer versions, with enableAutomaticUpgrade."""
FIRST_RETRY, LONGEST_RETRY = 5.0, 900.0
"""Seconds until a failure that is not the handler's is tried again."""

_RETURNING = (Stage.RESTORING_OLD, Stage.ENABLING_OLD)
_UPDATE = (Stage.INSTALLING_NEW, Stage.ENABLING_NEW, Stage.UPDATING)


class _Objection(Exception):
    """The wish is not followed."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


@dataclass(slots=True)
class Keeper:
    """Keeps the extension of that name (in lower case); `wanted` is None when it shall not be there."""

    name: str
    world: ExtensionWorld
    wanted: WantedExtension | None = None
    bell: asyncio.Event = field(default_factory=asyncio.Event)
    _looked: float = -UPGRADE_INTERVAL
    _enabled_at: float = field(default_factory=time.monotonic)
    _seen: tuple[object, ...] = ()

    @property
    def record(self) -> Record | None:
        """What is known."""
        return self.world.records.get(self.name)

    @property
    def is_over(self) -> bool:
        """Whether nothing is there, and nothing shall be."""
        return self.wanted is None and self.record is None

    async def run(self) -> None:
        """Follow `wanted`, which is changed from outside before the bell rings, until cancelled."""
        backoff = Backoff(random.random, FIRST_RETRY, LONGEST_RETRY)
        while True:
            self.bell.clear()
            try:
                pause = await self.settle()
                backoff.reset()
            except (ArcgateError, OSError) as error:
                self._tell_failure(error)
                pause = backoff.next()
            except Exception as error:  # a defect of ours must not end the other extensions' care
                _log.exception("an extension could not be dealt with", name=self.name)
                self._tell_failure(error)
                pause = backoff.next()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self.bell.wait()

    async def settle(self) -> float:
        """Do all that is to do, and return seconds until the next look; raises ArcgateError or OSError."""
        while True:
            try:
                record = begin(self.record, await self._wish())
            except _Objection as error:
                self._refuse(error)
                return UPGRADE_INTERVAL
            if record is None or record.stage is Stage.GONE:
                self._forget()
                if self.wanted is None:
                    return UPGRADE_INTERVAL
                continue
            await self._provide(record)
            if record is not self.record:
                self.world.keep(self.name, record)
            if record.is_resting:
                self.tell()
                return UPGRADE_INTERVAL
            await self._carry_out(record)

    def look(self) -> None:
        """Tell the cloud what the handler says now, when it says something else than at the last look."""
        record = self.record
        if record is None or not record.is_resting or (found := self._handler(record, record.version)) is None:
            return
        seen = tuple(
            signature_of(path)
            for path in (found.folders.status / f"{_sequence(record)}.status", found.folders.heartbeat)
        )
        age = time.monotonic() - self._enabled_at
        is_late = age > HEARTBEAT_LIFE and not self._words(record).is_alive
        if seen != self._seen or is_late:
            self._seen = seen
            self.tell()
        if is_late and record.stage is Stage.ENABLED:
            # It may have crashed: enabling it again is what starts it.
            self.world.keep(self.name, replace(record, is_owed=True))
            self._enabled_at = time.monotonic()
            self.bell.set()

    def tell(self) -> None:
        """Report the extension as it is."""
        record = self.record
        if record is not None:
            self.world.board.show(report(self._shown_name, record, self._words(record), self.world.limit.warning))

    async def _wish(self) -> Wish | None:
        """Return what the goal comes to; raises _Objection, or ArcgateError when nobody knows the versions."""
        if self.wanted is None:
            return None
        goal, record = self.wanted.goal, self.record
        if sentence := refusal(self.world.settings(), goal.publisher, goal.type):
            raise _Objection("NotAllowed", sentence)
        proxy = self.world.proxy()
        known = Wish(goal.publisher, goal.type, record.version if record else "", goal.settings_revision, proxy)
        if record is not None and known.is_same_kind(record):
            _object(record, known)
            is_due = goal.upgrades_itself and time.monotonic() - self._looked >= UPGRADE_INTERVAL
            if not record.is_resting or (goal.settings_revision == record.revision and not is_due):
                return known
        elif record is not None and record.stage is not Stage.GONE:
            return known  # another handler of the same name goes first
        found = await self.world.source().choose(goal)
        self._looked = time.monotonic()
        wish = replace(known, version=found.version)
        _object(record, wish)
        folders = self.world.folders.handler(self.name, found.version)
        if not folders.is_there:
            self.world.folders.remove(self.name, found.version)
            self._tell_progress(f"Fetching {found.file_name}.")
            await self.world.source().fetch(found, folders)
        return wish

    async def _provide(self, record: Record) -> None:
        """Fetch the files that the owed command needs once more when they are gone; raises HopError or InputError."""
        if record.is_resting or self.wanted is None:
            return
        version = record.coming if TRANSITIONS[record.stage].is_coming else record.version
        folders = self.world.folders.handler(self.name, version)
        if record.stage in (Stage.DISABLING, Stage.UNINSTALLING) or folders.is_there:
            return
        exact = replace(self.wanted.goal, version=version, upgrades_minor=False)
        found = await self.world.source().choose(exact)
        self.world.folders.remove(self.name, found.version)
        await self.world.source().fetch(found, folders)

    async def _carry_out(self, record: Record) -> None:
        """Run the owed command, and store what came of it."""
        self.tell()
        watching = spawn("look at a handler", self._watch())
        try:
            failure = await self._command(record)
        finally:
            await cancel(watching)
        result = after(record, failure)
        if failure:
            _log.warning("a handler's command failed", name=self.name, cause=failure)
        self.world.keep(self.name, result)
        if result.stage is Stage.ENABLED:
            self._enabled_at = time.monotonic()
        for version in {record.version, record.coming} - {result.version, result.coming, ""}:
            self.world.folders.remove(self.name, version)
        self.tell()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            self.tell()

    async def _command(self, record: Record) -> str:
        """Run it, and return why it failed, as a sentence."""
        move = TRANSITIONS[record.stage]
        handler = self._handler(record, record.coming if move.is_coming else record.version)
        if handler is None:
            return "The files of the extension are not there any more."
        try:
            return await handler.run(self._order(record, handler))
        except ArcgateError as error:
            return error.one_line()
        except OSError as error:
            return f"The handler's files can't be used: {error}."

    def _order(self, record: Record, handler: Handler) -> Order:
        settings, move = self.world.settings(), TRANSITIONS[record.stage]
        sequence = record.settled or record.revision if record.stage in _RETURNING else record.revision
        given, protected = None, None
        is_known = (handler.folders.config / f"{sequence}.settings").exists()
        if (
            self.wanted is not None
            and self._is_of_wanted(record)
            and (not is_known or sequence == self.wanted.goal.settings_revision)
        ):
            given = public_settings(self.wanted.settings, record.proxy)
            protected = self.world.protected(self.wanted)
        return Order(
            move.command,
            sequence,
            settings.get("extensions.timeout", 3600),
            settings.get("extensions.agent.cpulimit", 5),
            command_environment(settings, record.proxy),
            given,
            protected,
            is_update=record.stage in _UPDATE,
            before=record.version if move.command is Command.UPDATE else "",
        )

    def _is_of_wanted(self, record: Record) -> bool:
        goal = self.wanted.goal if self.wanted is not None else None
        return goal is not None and Wish(goal.publisher, goal.type, "", 0).is_same_kind(record)

    def _handler(self, record: Record, version: str) -> Handler | None:
        folders = self.world.folders.handler(self.name, version)
        return Handler(self._shown_name, version, folders, self.world.limit) if folders.is_there else None

    def _words(self, record: Record) -> HandlerWords:
        move = TRANSITIONS.get(record.stage)
        version = record.coming if move is not None and move.is_coming else record.version
        handler = self._handler(record, version)
        if handler is None:
            return HandlerWords()
        is_fresh = time.monotonic() - self._enabled_at < HEARTBEAT_LIFE
        return handler.words(_sequence(record), is_fresh=is_fresh)

    def _forget(self) -> None:
        self.world.folders.remove(self.name)
        if self.record is not None:
            self.world.keep(self.name, None)
        if self.wanted is None:
            self.world.board.drop(self.name)

    @property
    def _shown_name(self) -> str:
        return self.wanted.goal.name if self.wanted is not None else self.name

    def _refuse(self, error: _Objection) -> None:
        if self.wanted is not None:
            revision = self.wanted.goal.settings_revision
            self.world.board.show(refused(self._shown_name, revision, self.record, error.code, error.sentence))

    def _tell_failure(self, error: Exception) -> None:
        if self.wanted is not None:
            code, text = ("SystemError", str(error) or type(error).__name__)
            if isinstance(error, ArcgateError):
                code, text = error.code, error.one_line()
            revision = self.wanted.goal.settings_revision
            self.world.board.show(
                refused(self._shown_name, revision, self.record, code[:100], f"{text} It will be tried again.")
            )

    def _tell_progress(self, text: str) -> None:
        _log.info("extension", name=self.name, progress=text)


def _object(record: Record | None, wish: Wish) -> None:
    code, sentence = objection(record, wish)
    if code:
        raise _Objection(code, sentence)


def _sequence(record: Record) -> int:
    """Return the number of the settings that the handler's newest status is about."""
    if record.stage is Stage.ENABLED or record.stage in _RETURNING:
        return record.settled or record.revision
    return record.revision
