"""Certificates by ACME from a real ACME server, which looks at each name by a handshake at our front door."""

import ssl
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from arcgate.control.acme.service import Certified
from arcgate.core.certificate_orders import Record
from arcgate.gateway.front_door import FrontDoor, Names
from arcgate.gateway.name_proofs import NameProofs
from arcgate.gateway.strangers import Strangers
from arcgate.net.certificate_files import read_held
from arcgate.net.files import read_json
from arcgate.net.listener import Listener, listen
from arcgate.net.streams import ByteStream
from worlds.acme_authority import AcmeAuthority, acme_authority
from worlds.control_plane import ControlPlane, control_plane
from worlds.fake_gateway import closed_port

pytestmark = pytest.mark.anyio

OWN = {f"{part}.arcgate.test" for part in ("management", "login", "gbl.his", "packages", "download", "eastus.his")}


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeAuthority]:
    with acme_authority(tmp_path_factory.mktemp("acme")) as running:
        yield running


@pytest.fixture
async def control(acme: AcmeAuthority, tmp_path: Path) -> AsyncIterator[ControlPlane]:
    settings = {"directory": acme.directory, "terms_agreed": True, "email": "admin@arcgate.test"}
    async with control_plane(
        tmp_path, acme={**settings, "ca_file": acme.ca_file, "order_interval": 1}, cloud={"regions": ["eastus"]}
    ) as running:
        yield running


@asynccontextmanager
async def front_door(control: ControlPlane, acme: AcmeAuthority) -> AsyncIterator[None]:
    """The port that the authority looks at, with nothing behind it but proofs of names."""

    async def serve_nothing(_stream: ByteStream, _prefix: str, _is_known: object) -> None:
        return

    configuration = control.context.configuration
    door = FrontDoor(
        Names(configuration.gateway_suffix, frozenset(configuration.control_names), ".his.arcgate.test"),
        serve_gateway=serve_nothing,
        open_control=None,
        prove_name=NameProofs(configuration.acme_challenges, 10).prove,
        hello_timeout=10,
        idle_timeout=10,
        strangers=Strangers(100, 100, monotonic),
    )
    listener = Listener([listen("127.0.0.1", acme.tls_port)], door.handle)
    listener.start()
    try:
        yield
    finally:
        await listener.stop(1)


@asynccontextmanager
async def certified(control: ControlPlane) -> AsyncIterator[Certified]:
    keeper = Certified(control.context)
    try:
        yield keeper
    finally:
        keeper.close()


def names(control: ControlPlane) -> set[str]:
    held = read_held(control.context.configuration.acme_certificate)
    return set() if held is None else set(held.names)


def record(control: ControlPlane) -> Record:
    return Record.from_json(read_json(control.context.configuration.acme_orders))


async def test_one_certificate_is_for_all_names_and_grows_with_the_gateways(
    control: ControlPlane, acme: AcmeAuthority
) -> None:
    configuration = control.context.configuration
    async with front_door(control, acme), certified(control) as keeper:
        await keeper.step()
        assert names(control) == OWN
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(configuration.acme_certificate, password="")
        first = configuration.acme_certificate.read_bytes()
        control.clock.advance(minutes=5)
        await keeper.step()
        assert configuration.acme_certificate.read_bytes() == first, "nothing was due"
        await control.group()
        endpoint = (await control.gateway()).json()["properties"]["gatewayEndpoint"]
        await keeper.step()
        assert names(control) == {*OWN, endpoint}
    files = (configuration.acme_certificate, configuration.acme_folder / "account.key", configuration.acme_orders)
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o600}
    assert not list(configuration.acme_challenges.iterdir())


async def test_it_is_renewed_at_two_thirds_of_its_life_by_the_same_account(
    control: ControlPlane, acme: AcmeAuthority
) -> None:
    file = control.context.configuration.acme_certificate
    async with front_door(control, acme), certified(control) as keeper:
        await keeper.step()
    held, first = read_held(file), file.read_bytes()
    assert held is not None
    for share, is_renewed in ((0.6, False), (0.7, True)):
        control.clock.ahead = (held.not_after - held.not_before) * share
        async with front_door(control, acme), certified(control) as keeper:
            await keeper.step()
        assert (file.read_bytes() != first) is is_renewed


async def test_a_name_that_the_authority_does_not_find_is_left_out_and_tried_again(
    control: ControlPlane, acme: AcmeAuthority
) -> None:
    async with front_door(control, acme), certified(control) as keeper:
        acme.lose("download.arcgate.test")
        try:
            await keeper.step()
        finally:
            acme.find("download.arcgate.test")
        assert names(control) == OWN - {"download.arcgate.test"}
        assert "download.arcgate.test" in record(control).left_out["download.arcgate.test"].cause
        control.clock.advance(seconds=90)
        await keeper.step()
        assert names(control) == OWN
        assert not record(control).left_out


async def test_no_name_is_proved_to_somebody_who_did_not_order(control: ControlPlane, acme: AcmeAuthority) -> None:
    file = control.context.configuration.acme_certificate
    async with certified(control) as keeper:  # nobody is at the port
        await keeper.step()
        assert not file.exists()
        failed = record(control)
        assert failed.failures == 1
        assert set(failed.left_out) == OWN
        assert failed.next_order is not None
        assert failed.tried is not None
        async with front_door(control, acme):
            await keeper.step()
            assert not file.exists(), "it is too early"
            control.clock.advance(seconds=90)
            await keeper.step()
            assert names(control) == OWN


async def test_the_certificate_stays_while_the_authority_is_away(control: ControlPlane, acme: AcmeAuthority) -> None:
    configuration = control.context.configuration
    file = configuration.acme_certificate
    async with front_door(control, acme), certified(control) as keeper:
        await keeper.step()
    first, held = file.read_bytes(), read_held(file)
    assert held is not None
    control.clock.ahead = (held.not_after - held.not_before) * 0.7
    gone = configuration.acme.model_copy(update={"directory": f"https://localhost:{closed_port()}/dir"})
    away = replace(control.context, configuration=configuration.model_copy(update={"acme": gone}))
    keeper = Certified(away)
    pause = await keeper.step()
    keeper.close()
    assert file.read_bytes() == first
    assert record(control).failures == 1
    assert "localhost" in record(control).cause
    assert 59 <= pause <= 61
