"""Keeps the server's certificate: orders it for the names that are ours, again before it ends, and for new gateways.

One control plane does this, on the host whose front door answers for all names. Theory of operation: what is due
is a pure decision (`core/certificate_orders`) over the wanted names, the certificate and the record of earlier
orders; each round does at most one order, writes the record, and waits for time or for a new gateway.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from sqlalchemy import select

from arcgate.control.acme.challenges import proof_pem
from arcgate.control.acme.directory import AcmeError, Directory
from arcgate.control.changes import ENTRIES
from arcgate.control.context import ControlContext
from arcgate.control.store.models import GatewayRow
from arcgate.core.certificate_orders import (
    Pace,
    Record,
    after_failure,
    after_success,
    names_to_order,
    next_look,
)
from arcgate.core.configuration import AcmeSettings, Configuration
from arcgate.core.errors import ArcgateError, InputError, StateError
from arcgate.net.certificate_files import read_held
from arcgate.net.files import read_json, write_file, write_json

LONGEST_PAUSE = 3600.0
"""Seconds between two looks at what is due, whatever the record says: clocks are set."""

_log = structlog.get_logger(__name__)


async def keep_certified(context: ControlContext) -> None:
    """Order what is due, for ever; raises StateError at once when the account's key can't be read."""
    keeper = Certified(context)
    try:
        while not context.changes.is_closed:
            ticket = context.changes.ticket(ENTRIES)
            await context.changes.wait(ticket, await keeper.step())
    finally:
        keeper.close()


def wanted_names(configuration: Configuration, prefixes: Iterable[str]) -> list[str]:
    """Return the names that a certificate must hold, the control plane's first: without them nothing works."""
    regions = (f"{region}.his.{configuration.cloud.domain}" for region in configuration.cloud.regions)
    own = (name for name in configuration.control_names if "." in name)
    gateways = (f"{prefix}{configuration.gateway_suffix}" for prefix in sorted(prefixes))
    return list(dict.fromkeys([*own, *regions, *gateways]))


def pace_of(settings: AcmeSettings) -> Pace:
    """Return how fast orders may follow each other."""
    between, first, longest = settings.order_interval, settings.retry_first, settings.retry_longest
    return Pace(timedelta(seconds=between), timedelta(seconds=first), timedelta(seconds=longest))


class Certified:
    """The state of one control plane's orders, on disk."""

    def __init__(self, context: ControlContext) -> None:
        self._context = context
        self._configuration = context.configuration
        self._settings = self._configuration.acme
        self._pace = pace_of(self._settings)
        self._record_file = self._configuration.acme_orders
        self._record = read_record(self._record_file)
        key = load_account_key(self._configuration.acme_folder / "account.key")
        settings = self._settings
        self._directory = Directory(settings.directory, key, settings.ca_file, settings.request_timeout)
        self._clear_proofs()

    async def step(self) -> float:
        """Do the order that is due, if one is; return the seconds until the next look."""
        wanted = await self._wanted()
        held = read_held(self._configuration.acme_certificate)
        if held is not None and len(wanted) > self._settings.most_names:
            _log.warning("more names than a certificate takes", names=len(wanted), most=self._settings.most_names)
        names = names_to_order(wanted, held, self._record, self._context.clock(), self._settings.most_names)
        if names:
            await self._order(names)
            held = read_held(self._configuration.acme_certificate)
        now = self._context.clock()
        due = next_look(wanted, held, self._record, now)
        return LONGEST_PAUSE if due is None else min(LONGEST_PAUSE, max(1.0, (due - now).total_seconds()))

    def close(self) -> None:
        """Let go of the connections to the authority."""
        self._directory.close()

    async def _wanted(self) -> list[str]:
        async with self._context.store.read() as session:
            prefixes = (await session.scalars(select(GatewayRow.prefix))).all()
        return wanted_names(self._configuration, prefixes)

    async def _order(self, names: Sequence[str]) -> None:
        refused: dict[str, str] = {}
        try:
            await self._obtain(names, refused)
        except ArcgateError as error:
            retry_after = error.retry_after if isinstance(error, AcmeError) else timedelta()
            cause = f"{error.sentence} {error.cause}"
            record = after_failure(self._record, cause, refused, retry_after, self._pace, self._context.clock())
            _log.error(
                "no new certificate, the one in use stays",
                cause=cause,
                next_order=record.next_order and record.next_order.isoformat(timespec="seconds"),
            )
        else:
            record = after_success(self._record, refused, self._pace, self._context.clock())
        self._record = record
        write_json(self._record_file, record.to_json())

    async def _obtain(self, names: Sequence[str], refused: dict[str, str]) -> None:
        """Get a certificate for those names that the authority doesn't refuse; the others join `refused`."""
        await self._directory.open(self._settings.email, terms_agreed=self._settings.terms_agreed)
        key = ec.generate_private_key(ec.SECP256R1())
        # An order with a refused name is lost; a second one finds the other names proved already.
        for _ in range(2):
            chain = await self._try(names, key, refused)
            if chain is not None:
                write_file(self._configuration.acme_certificate, f"{chain.strip()}\n{_pem(key)}")
                _log.info("a certificate has come", names=len(names), left_out=", ".join(refused))
                return
            names = [one for one in names if one not in refused]
            if not names:
                break
        cause = "; ".join(f"{name}: {cause}" for name, cause in refused.items())
        raise AcmeError("ACME_NAMES_REFUSED", "The authority accepts none of the names.", cause)

    async def _try(self, names: Sequence[str], key: ec.EllipticCurvePrivateKey, refused: dict[str, str]) -> str | None:
        """Return the chain, None when names were refused."""
        order = await self._directory.order(names, key)
        folder, now, timeout = (
            self._configuration.acme_challenges,
            self._context.clock(),
            self._settings.validation_timeout,
        )
        try:
            for name, digest in order.proofs.items():
                write_file(folder / f"{name}.pem", proof_pem(name, digest, now))
            await self._directory.validate(order, timeout)
            for name, cause in order.refused.items():
                _log.warning("the authority refuses a name", name=name, cause=cause)
            refused.update(order.refused)
            return None if order.refused else await self._directory.finish(order, timeout)
        finally:
            self._clear_proofs()

    def _clear_proofs(self) -> None:
        for file in self._configuration.acme_challenges.glob("*.pem"):
            file.unlink(missing_ok=True)


def read_record(file: Path) -> Record:
    """Return the record of earlier orders; one that can't be read is begun anew, and said."""
    try:
        document = read_json(file)
        return Record() if document is None else Record.from_json(document)
    except (StateError, InputError) as error:
        _log.error("the record of orders is of no use, a new one begins", cause=error.one_line())
        return Record()


def load_account_key(file: Path) -> ec.EllipticCurvePrivateKey:
    """Return the account's key, made at the first start; raises StateError (ACME_KEY_UNUSABLE)."""
    if not file.exists():
        write_file(file, _pem(ec.generate_private_key(ec.SECP256R1())))
    try:
        key = load_pem_private_key(file.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise _bad_key(file, str(error)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise _bad_key(file, "it is no key of the curve P-256")
    return key


def _bad_key(file: Path, cause: str) -> StateError:
    remedy = "Restore it from a backup, or move it away: a new account is made then."
    return StateError("ACME_KEY_UNUSABLE", f"The ACME account's key {file} can't be used.", cause=cause, remedy=remedy)


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")
