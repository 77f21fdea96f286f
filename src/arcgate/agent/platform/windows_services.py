"""Services of Windows: the conversation of a service's process with their manager, and the event log.

The manager of services starts a process, which must answer at once, say when it runs, and obey when it is to stop.
What calls Windows itself is behind `ServiceManager` and `AdvApi`, so that the rest can be read and tested anywhere.
"""

import ctypes
import threading
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Protocol

START_WAIT = 30_000
STOP_WAIT = 75_000
"""Milliseconds that the manager is asked to wait; tunnels of Arc Proxy end meanwhile."""

_OWN_PROCESS = 0x10
_NOT_IMPLEMENTED = 120
_ACCEPT_STOP = 0x1 | 0x4
_FAILED = 1066
"""ERROR_SERVICE_SPECIFIC_ERROR: the exit code is the service's own."""


class State(IntEnum):
    """States of a service, as winsvc.h numbers them."""

    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4


class Control(IntEnum):
    """What the manager asks for."""

    STOP = 1
    INTERROGATE = 4
    SHUTDOWN = 5


class Kind(IntEnum):
    """Kinds of entries in the event log."""

    ERROR = 1
    WARNING = 2
    INFORMATION = 4


class ServiceManager(Protocol):
    """The manager's side of the conversation."""

    def register(self, name: str, handler: Callable[[int], int]) -> None:
        """Have the manager's wishes told to `handler`, which returns an error code or 0."""
        ...

    def tell(self, state: State, accepted: int, code: int, wait: int) -> None:
        """Tell the state, the controls that are accepted, the exit code, and how many milliseconds to wait."""
        ...


class ServiceProcess:
    """A service's side of it: `work` runs until `stop` is called from another thread, and returns an exit code."""

    def __init__(self, name: str, manager: ServiceManager, work: Callable[[], int], stop: Callable[[], None]) -> None:
        self._name = name
        self._manager = manager
        self._work = work
        self._stop = stop
        self._state = State.STOPPED
        self._lock = threading.Lock()

    def run(self) -> int:
        """Run the service; the manager hears of every state. Returns the exit code."""
        self._manager.register(self._name, self._on_control)
        self._enter(State.START_PENDING, wait=START_WAIT)
        self._enter(State.RUNNING, accepted=_ACCEPT_STOP)
        code = 1
        try:
            code = self._work()
        finally:
            self._enter(State.STOPPED, code=code)
        return code

    def _on_control(self, control: int) -> int:
        if control in (Control.STOP, Control.SHUTDOWN):
            with self._lock:
                is_new = self._state is State.RUNNING
            if is_new:
                self._enter(State.STOP_PENDING, wait=STOP_WAIT)
                self._stop()
            return 0
        # The manager shows what we said last.
        return 0 if control == Control.INTERROGATE else _NOT_IMPLEMENTED

    def _enter(self, state: State, *, accepted: int = 0, code: int = 0, wait: int = 0) -> None:
        with self._lock:
            self._state = state
        self._manager.tell(state, accepted, code, wait)


class EventLog:
    """The machine's log of applications, where admins of Windows look first."""

    def __init__(self, source: str, library: Any) -> None:
        self._source = source
        self._library = library

    def report(self, kind: Kind, text: str) -> bool:
        """Write an entry; return whether it worked. Texts are cut at what an entry may hold."""
        handle = self._library.RegisterEventSourceW(None, self._source)
        if not handle:
            return False
        texts = (ctypes.c_wchar_p * 1)(text.replace("\0", " ")[:LONGEST_ENTRY])
        try:
            return bool(self._library.ReportEventW(handle, int(kind), 0, EVENT_ID, None, 1, 0, texts, None))
        finally:
            self._library.DeregisterEventSource(handle)


EVENT_ID = 1
LONGEST_ENTRY = 31_839
"""Characters of one text of an entry, by ReportEvent's documentation."""


class ServiceStatus(ctypes.Structure):
    """SERVICE_STATUS of winsvc.h."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("state", ctypes.c_uint32),
        ("accepted", ctypes.c_uint32),
        ("exit_code", ctypes.c_uint32),
        ("specific_code", ctypes.c_uint32),
        ("checkpoint", ctypes.c_uint32),
        ("wait", ctypes.c_uint32),
    )


def status_of(state: State, accepted: int, code: int, wait: int, checkpoint: int) -> ServiceStatus:
    """Return the structure that the manager reads."""
    exit_code = _FAILED if code else 0
    return ServiceStatus(_OWN_PROCESS, int(state), accepted, exit_code, code, checkpoint if wait else 0, wait)


class AdvApiManager:
    """The real manager of services, by advapi32.dll (or a stand-in of the tests)."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._handle: Any = None
        self._checkpoint = 0
        self._callback: Any = None

    def register(self, name: str, handler: Callable[[int], int]) -> None:
        """See ServiceManager; raises OSError when this process is no service of that name."""
        function = _callback_type(ctypes.c_uint32, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p, ctypes.c_void_p)
        # Kept for as long as the manager may call it.
        self._callback = function(lambda control, _kind, _data, _context: handler(control))
        self._handle = self._library.RegisterServiceCtrlHandlerExW(name, self._callback, None)
        if not self._handle:
            raise OSError(f"the manager of services does not know {name}")

    def tell(self, state: State, accepted: int, code: int, wait: int) -> None:
        """See ServiceManager."""
        self._checkpoint += 1
        status = status_of(state, accepted, code, wait, self._checkpoint)
        self._library.SetServiceStatus(self._handle, ctypes.byref(status))


def dispatch(name: str, library: Any, service: Callable[[], int]) -> int:
    """Connect this process with the manager, which runs `service` in a thread; return its exit code.

    Raises OSError when the process was not started by the manager.
    """
    codes: list[int] = []
    function = _callback_type(None, ctypes.c_uint32, ctypes.c_void_p)
    main = function(lambda _count, _arguments: codes.append(service()))
    table = (_TableEntry * 2)(_TableEntry(name, ctypes.cast(main, ctypes.c_void_p)), _TableEntry(None, None))
    if not library.StartServiceCtrlDispatcherW(table):
        raise OSError(f"{name} was not started by the manager of services")
    return codes[0] if codes else 1


class _TableEntry(ctypes.Structure):
    """SERVICE_TABLE_ENTRYW of winsvc.h."""

    _fields_ = (("name", ctypes.c_wchar_p), ("main", ctypes.c_void_p))


def _callback_type(result: Any, *arguments: Any) -> Any:
    # Windows' own calling convention differs from C's on 32-bit systems alone.
    return getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)(result, *arguments)


def run_as_service(name: str, work: Callable[[], None], stop: Callable[[], None], library: Any = None) -> int:
    """Run a daemon as a service of Windows and return its exit code; failures go to the event log too.

    Raises OSError when this process was not started by the manager of services.
    """
    library = library if library is not None else getattr(getattr(ctypes, "windll", None), "advapi32", None)
    if library is None:
        raise OSError("there is no manager of services of Windows here")
    log = EventLog(name, library)

    def run_once() -> int:
        code = _exit_code(work)
        if code:
            log.report(Kind.ERROR, f"{name} ended with {code}; its log file says why.")
        return code

    return dispatch(name, library, ServiceProcess(name, AdvApiManager(library), run_once, stop).run)


def _exit_code(work: Callable[[], None]) -> int:
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0
