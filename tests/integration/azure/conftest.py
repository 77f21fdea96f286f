"""One control plane for all that the official clients do to it, and the clients' own environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from worlds.azure_clients import ENVIRONMENT, AzureCli, make_certificate
from worlds.cloud_process import CloudProcess, cloud_process

QUOTA = 30
"""Gateways of a subscription: more than the tests need beside each other."""


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudProcess]:
    if not (ENVIRONMENT / "bin" / "az").exists():
        pytest.fail(f"{ENVIRONMENT} has no az; run scripts/install-azure-clients")
    settings = {"gateways_per_subscription": QUOTA}
    with cloud_process(tmp_path_factory.mktemp("cloud"), control=settings) as running:
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
