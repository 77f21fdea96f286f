"""One control plane for all that the official clients do to it, and the clients' own environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from worlds.azure_clients import ENVIRONMENT, AzureCli, make_certificate
from worlds.cloud_process import CloudProcess, cloud_process
from worlds.databases import KINDS, fresh_database

QUOTA = 30
"""Gateways of a subscription: more than the tests need beside each other."""


@pytest.fixture(scope="session", params=KINDS)
def cloud(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    """The control plane, on each database in turn."""
    if not (ENVIRONMENT / "bin" / "az").exists():
        pytest.fail(f"{ENVIRONMENT} has no az; run scripts/install-azure-clients")
    server = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    folder, control = tmp_path_factory.mktemp("cloud"), {"gateways_per_subscription": QUOTA}
    with (
        fresh_database(server) as database,
        cloud_process(folder, control=control, database={"url": database.url(folder / "state")}) as running,
    ):
        running.admin_token()
        yield running
        assert "Traceback" not in running.log()


@pytest.fixture(scope="session")
def admin(cloud: CloudProcess, tmp_path_factory: pytest.TempPathFactory) -> AzureCli:
    """`az`, logged in as the first admin with a device code."""
    az = AzureCli(cloud, tmp_path_factory.mktemp("admin"))
    az.use_cloud()
    assert az.device_login().status == 0
    return az


@pytest.fixture
def client_certificate(tmp_path: Path) -> tuple[Path, str]:
    """A file with a key and its certificate, and the certificate alone."""
    return make_certificate(tmp_path)
