import pytest
from starlette.requests import Request

from arcgate.control.urls import base_url
from arcgate.core.configuration import CloudSettings, Configuration

CONFIGURATION = Configuration(cloud=CloudSettings(domain="arc.test", extra_names=("localhost",), public_port=8443))


def _request(host: str) -> Request:
    return Request({"type": "http", "headers": [(b"host", host.encode())]})


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("management.arc.test", "management.arc.test"),
        ("LOGIN.arc.test:8443", "login.arc.test"),
        ("localhost:9999", "localhost"),
        ("eastus.his.arc.test", "eastus.his.arc.test"),
        ("login.arc.test.", "login.arc.test"),
        ("mars.his.arc.test", "management.arc.test"),
        ("evil.example", "management.arc.test"),
        ("management.arc.test.evil.example", "management.arc.test"),
        ("user@localhost", "management.arc.test"),
        ("localhost/x", "management.arc.test"),
        ("", "management.arc.test"),
    ],
)
def test_links_name_us_and_nobody_else(host: str, name: str) -> None:
    assert base_url(_request(host), CONFIGURATION) == f"https://{name}:8443"
