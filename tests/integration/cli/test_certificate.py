"""`arcgate serve` with a certificate by ACME: from the first start on, to requests that trust nothing else."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worlds.acme_authority import AcmeAuthority, acme_authority
from worlds.sandbox_process import ARCGATE, STOP_LIMIT, Ended, run
from worlds.waiting import wait_until

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def acme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeAuthority]:
    with acme_authority(tmp_path_factory.mktemp("acme")) as running:
        yield running


@pytest.fixture(scope="module")
def file(acme: AcmeAuthority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("server")
    path = folder / "arcgate.toml"
    path.touch(mode=0o600)
    path.write_text(
        f'state_dir = "{folder}/state"\n[listen]\naddresses = ["127.0.0.1"]\nport = {acme.tls_port}\n'
        f'[cloud]\nregions = ["eastus"]\npublic_port = {acme.tls_port}\n[gateway]\ndrain_timeout = 1\n'
        f'[acme]\ndirectory = "{acme.directory}"\nterms_agreed = true\nca_file = "{acme.ca_file}"\n'
    )
    return path


@pytest.fixture(scope="module")
def server(file: Path) -> Iterator[None]:
    with (
        (file.parent / "serve.log").open("w") as log,
        subprocess.Popen(
            [ARCGATE, "serve", "--json", "--config", str(file)], stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["ready"] is True
            yield
        finally:
            process.terminate()
            process.wait(STOP_LIMIT)


def show(file: Path, *options: str) -> Ended:
    return run(ARCGATE, "certificate", "show", "--config", str(file), *options)


def test_before_the_first_start_there_is_none(acme: AcmeAuthority, tmp_path: Path) -> None:
    file = tmp_path / "arcgate.toml"
    file.touch(mode=0o600)
    file.write_text(f'state_dir = "{tmp_path}/state"\n[acme]\ndirectory = "{acme.directory}"\nterms_agreed = true\n')
    shown = show(file)
    assert shown.code == 1
    document = json.loads(shown.output)
    assert document["source"] == "own authority"
    assert document["orders"]["failures"] == 0


@pytest.mark.usefixtures("server")
def test_both_parts_show_what_the_authority_issued(file: Path, acme: AcmeAuthority) -> None:
    def shown() -> dict[str, Any]:
        document: dict[str, Any] = json.loads(show(file).output)
        return document if document["source"] == "acme" else {}

    document = wait_until(shown, "a certificate has come by ACME")
    assert "management.arcgate.test" in document["names"]
    assert document["renewal"] < document["notAfter"]
    assert document["orders"]["failures"] == 0
    wait_until(lambda: answers("management.arcgate.test", acme), "the control plane shows it")
    wait_until(lambda: shows(f"probe.gw.arcgate.test:{acme.tls_port}", acme), "the gateway shows it")


def answers(name: str, acme: AcmeAuthority) -> bool:
    place = f"{name}:{acme.tls_port}"
    options = ("-q", "-s", "--noproxy", "*", "--max-time", "5", "--cacert", str(acme.issuer_file))
    return run("curl", *options, "--resolve", f"{place}:127.0.0.1", f"https://{place}/healthz").code == 0


def shows(place: str, acme: AcmeAuthority) -> bool:
    """Say whether the gateway's chain is the authority's; its name came to no gateway's resource, and is in none."""
    name, _, port = place.partition(":")
    command = ("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-tls1_3")
    ended = run(*command, "-CAfile", str(acme.issuer_file), "-verify_return_error")
    return ended.code == 0


@pytest.mark.usefixtures("server")
def test_a_handshake_for_a_proof_that_nobody_ordered_is_refused(acme: AcmeAuthority) -> None:
    command = ("openssl", "s_client", "-connect", f"127.0.0.1:{acme.tls_port}", "-alpn", "acme-tls/1")
    ended = run(*command, "-servername", "evil.gw.arcgate.test")
    assert ended.code != 0
    assert "unrecognized name" in ended.errors


@pytest.mark.parametrize("role", ["control", "gateway"])
def test_a_part_of_a_server_orders_none_by_itself(file: Path, role: str) -> None:
    ended = run(ARCGATE, "serve", "--role", role, "--config", str(file), ARCGATE_STATE_DIR=str(file.parent / role))
    assert ended.code != 0
    assert "acme.directory" in ended.errors
    assert "tls.certificate_file" in ended.errors
