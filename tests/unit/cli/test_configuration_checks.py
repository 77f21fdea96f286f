from typing import Any

import pytest

from arcgate.cli.configuration_checks import find_contradictions
from arcgate.core.configuration import Configuration
from arcgate.core.errors import Place

ACME = {"directory": "https://acme.example/directory", "terms_agreed": True}


def findings(document: dict[str, Any]) -> list[str]:
    configuration = Configuration.model_validate(document)
    errors = find_contradictions(configuration, lambda path: Place("file", 1, ".".join(path)))
    assert all(error.remedy for error in errors)
    return [error.place.key for error in errors]


def test_the_defaults_agree_with_each_other() -> None:
    assert findings({}) == []
    assert findings({"acme": ACME}) == []


@pytest.mark.parametrize(
    ("document", "key"),
    [
        ({"state_dir": "relative/folder"}, "state_dir"),
        ({"cloud": {"name": "two words"}}, "cloud.name"),
        ({"cloud": {"regions": []}}, "cloud.regions"),
        ({"cloud": {"regions": ["East US"]}}, "cloud.regions"),
        ({"listen": {"addresses": []}}, "listen.addresses"),
        ({"listen": {"addresses": ["localhost"]}}, "listen.addresses"),
        ({"listen": {"addresses": ["127.0.0.1:443"]}}, "listen.addresses"),
        ({"listen": {"addresses": ["::", "::"]}}, "listen.addresses"),
        ({"tls": {"certificate_file": "/x.pem"}}, "tls.certificate_file"),
        ({"tls": {"key_file": "/x.pem"}}, "tls.key_file"),
        ({"acme": {**ACME, "directory": "http://acme.example/directory"}}, "acme.directory"),
        ({"acme": {**ACME, "terms_agreed": False}}, "acme.terms_agreed"),
        ({"acme": {**ACME, "email": "admin"}}, "acme.email"),
        ({"acme": {**ACME, "retry_first": 3600, "retry_longest": 60}}, "acme.retry_longest"),
        ({"acme": ACME, "tls": {"certificate_file": "/x.pem", "key_file": "/x.pem"}}, "acme.directory"),
        ({"database": {"url": "mysql://x/y"}}, "database.url"),
        ({"control": {"heartbeat_interval": 900, "disconnected_after": 900}}, "control.disconnected_after"),
        ({"identity": {"issuer": "login.example", "audience": "x"}}, "identity.issuer"),
        ({"identity": {"issuer": "http://login.example", "audience": "x"}}, "identity.issuer"),
        ({"identity": {"issuer": "https://login.example"}}, "identity.audience"),
        ({"identity": {"login_endpoint": "http://login.example"}}, "identity.login_endpoint"),
        ({"identity": {"embedded": False}}, "identity.embedded"),
        ({"gateway": {"control_url": "management.example"}}, "gateway.control_url"),
        ({"gateway": {"control_url": "http://management.example"}}, "gateway.control_url"),
        ({"gateway": {"open_networks": ["0.0.0.0/0"]}}, "gateway.open_networks"),
        ({"gateway": {"open_networks": ["::/0"]}}, "gateway.open_networks"),
        ({"gateway": {"dns_servers": ["dns.example"]}}, "gateway.dns_servers"),
        ({"gateway": {"hosts": {"a.example": "b.example"}}}, "gateway.hosts.a.example"),
        ({"gateway": {"hosts": {"10.0.0.1": "10.0.0.1"}}}, "gateway.hosts.10.0.0.1"),
        ({"gateway": {"hosts": {"A.example": "10.0.0.1"}}}, "gateway.hosts.A.example"),
    ],
)
def test_a_contradiction_is_found_at_its_key(document: dict[str, Any], key: str) -> None:
    assert findings(document) == [key]


@pytest.mark.parametrize("url", ["sqlite+aiosqlite:////x.db", "postgresql+asyncpg://u:p@h/db", "postgresql://h/db", ""])
def test_known_databases_are_taken(url: str) -> None:
    assert findings({"database": {"url": url}}) == []
