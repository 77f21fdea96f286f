"""Services of Windows: their conversation with the manager, and entries of the event log."""

import ctypes
from collections.abc import Callable
from typing import Any

import pytest

from arcgate.agent.platform.windows_services import (
    LONGEST_ENTRY,
    STOP_WAIT,
    Control,
    EventLog,
    Kind,
    ServiceProcess,
    State,
    run_as_service,
    status_of,
)


class Manager:
    """The manager of services, as the documentation has it."""

    def __init__(self) -> None:
        self.told: list[tuple[State, int, int, int]] = []
        self.ask: Callable[[int], int] = lambda _control: -1

    def register(self, name: str, handler: Callable[[int], int]) -> None:
        assert name == "himds"
        self.ask = handler

    def tell(self, state: State, accepted: int, code: int, wait: int) -> None:
        self.told.append((state, accepted, code, wait))

    @property
    def states(self) -> list[State]:
        return [one[0] for one in self.told]


def test_a_service_tells_each_of_its_states_until_it_has_stopped() -> None:
    manager = Manager()
    stops: list[int] = []

    def work() -> int:
        assert manager.states == [State.START_PENDING, State.RUNNING]
        assert manager.ask(Control.INTERROGATE) == 0
        assert manager.ask(Control.STOP) == 0
        assert manager.ask(Control.SHUTDOWN) == 0  # the second wish changes nothing
        return 0

    assert ServiceProcess("himds", manager, work, lambda: stops.append(1)).run() == 0
    assert manager.states == [State.START_PENDING, State.RUNNING, State.STOP_PENDING, State.STOPPED]
    assert stops == [1]
    assert manager.told[2][3] == STOP_WAIT


def test_only_a_running_service_takes_the_wish_to_stop() -> None:
    manager = Manager()
    stops: list[int] = []
    ServiceProcess("himds", manager, lambda: 0, lambda: stops.append(1)).run()
    assert manager.ask(Control.STOP) == 0
    assert stops == []
    assert [accepted for state, accepted, _, _ in manager.told if state is not State.RUNNING] == [0, 0]


def test_what_the_manager_asks_beyond_that_is_not_implemented() -> None:
    manager = Manager()
    ServiceProcess("himds", manager, lambda: 0, lambda: None).run()
    assert manager.ask(2) == 120


def test_a_service_that_fails_tells_its_code_so_that_it_is_started_again() -> None:
    manager = Manager()
    ServiceProcess("himds", manager, lambda: 7, lambda: None).run()
    assert manager.told[-1][:3] == (State.STOPPED, 0, 7)


def test_a_defect_of_a_service_is_a_failure_too() -> None:
    manager = Manager()

    def work() -> int:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError):
        ServiceProcess("himds", manager, work, lambda: None).run()
    assert manager.told[-1][:3] == (State.STOPPED, 0, 1)


def test_the_status_has_the_layout_of_the_system() -> None:
    status = status_of(State.STOPPED, 0, 3, 0, 9)
    assert ctypes.sizeof(status) == 28
    assert (status.type, status.state, status.exit_code, status.specific_code, status.checkpoint) == (16, 1, 1066, 3, 0)
    assert status_of(State.STOP_PENDING, 0, 0, 500, 9).checkpoint == 9


class AdvApi:
    """advapi32.dll, as far as the event log needs it."""

    def __init__(self, handle: int = 5) -> None:
        self.handle = handle
        self.entries: list[tuple[int, str]] = []
        self.closed: list[int] = []

    def RegisterEventSourceW(self, _server: None, source: str) -> int:
        assert source == "himds"
        return self.handle

    def ReportEventW(
        self,
        handle: int,
        kind: int,
        _category: int,
        _event: int,
        _user: None,
        count: int,
        _size: int,
        texts: Any,
        _raw: None,
    ) -> int:
        assert (handle, count) == (self.handle, 1)
        self.entries.append((kind, texts[0]))
        return 1

    def DeregisterEventSource(self, handle: int) -> None:
        self.closed.append(handle)


def test_an_entry_is_written_and_its_source_closed() -> None:
    library = AdvApi()
    assert EventLog("himds", library).report(Kind.ERROR, "no\0way " + "x" * 40_000)
    [(kind, text)] = library.entries
    assert kind == 1
    assert text.startswith("no way x")
    assert len(text) == LONGEST_ENTRY
    assert library.closed == [5]


def test_a_log_that_is_not_there_is_no_failure() -> None:
    library = AdvApi(handle=0)
    assert not EventLog("himds", library).report(Kind.WARNING, "text")
    assert library.closed == []


class ServicesLibrary(AdvApi):
    """advapi32.dll, as far as services need it: it runs the service, and may ask it to stop."""

    def __init__(self, *, is_service: bool = True) -> None:
        super().__init__()
        self.is_service = is_service
        self.control: Any = None
        self.statuses: list[tuple[int, int]] = []

    def StartServiceCtrlDispatcherW(self, table: Any) -> int:
        if not self.is_service:
            return 0
        assert table[0].name == "himds"
        assert table[1].name is None
        ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_void_p)(table[0].main)(0, None)
        return 1

    def RegisterServiceCtrlHandlerExW(self, name: str, control: Any, _context: None) -> int:
        self.control = control
        return 11

    def SetServiceStatus(self, handle: int, status: Any) -> int:
        assert handle == 11
        self.statuses.append((status._obj.state, status._obj.specific_code))
        return 1


def test_the_manager_runs_the_daemon_and_stops_it() -> None:
    library, stops = ServicesLibrary(), list[int]()

    def work() -> None:
        assert library.control(1, 0, None, None) == 0

    assert run_as_service("himds", work, lambda: stops.append(1), library) == 0
    assert stops == [1]
    assert [state for state, _ in library.statuses] == [2, 4, 3, 1]
    assert library.entries == []


@pytest.mark.parametrize(("end", "code"), [(SystemExit(4), 4), (SystemExit("words"), 1), (SystemExit(), 0)])
def test_a_daemons_failure_is_told_to_the_manager_and_the_event_log(end: SystemExit, code: int) -> None:
    library = ServicesLibrary()

    def work() -> None:
        raise end

    assert run_as_service("himds", work, lambda: None, library) == code
    assert library.statuses[-1] == (1, code)
    assert len(library.entries) == (1 if code else 0)


def test_a_daemon_that_nobody_started_as_a_service_says_so() -> None:
    with pytest.raises(OSError, match="not started by the manager"):
        run_as_service("himds", lambda: None, lambda: None, ServicesLibrary(is_service=False))
    with pytest.raises(OSError, match="no manager"):
        run_as_service("himds", lambda: None, lambda: None)
