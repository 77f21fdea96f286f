"""Names in client certificates are read strictly: one machine, or nobody."""

import pytest

from arcgate.gateway.identity import read_certificate

MACHINE = "0b7f7c5e-2a3c-4d9b-8a51-6f0a3f6f5c01"
TENANT = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
URI = f"urn:arcgate:machine:{TENANT}:{MACHINE}"


def facts(*names: tuple[str, str], serial: str = "0AB1") -> dict[str, object]:
    return {"subjectAltName": names, "serialNumber": serial, "notAfter": "Jan  1 00:00:00 2030 GMT"}


def test_one_machine_uri_names_the_machine() -> None:
    certificate = read_certificate(facts(("URI", URI)))
    assert certificate is not None
    assert (certificate.identity.machine_id, certificate.identity.tenant_id) == (MACHINE, TENANT)
    assert certificate.identity.serial == "ab1"
    assert certificate.not_after.isoformat() == "2030-01-01T00:00:00+00:00"


@pytest.mark.parametrize(
    "names",
    [
        (),
        (("DNS", MACHINE),),
        (("URI", URI), ("URI", URI)),
        (("URI", URI + "\n"),),
        (("URI", URI.upper()),),
        (("URI", URI + ":more"),),
        (("URI", f"urn:arcgate:machine:{MACHINE}"),),
        (("URI", f"urn:arcgate:machine:{TENANT}:{MACHINE}\x00.evil"),),
        (("email", URI),),
    ],
)
def test_anything_else_names_nobody(names: tuple[tuple[str, str], ...]) -> None:
    assert read_certificate(facts(*names)) is None


def test_an_odd_serial_number_names_nobody() -> None:
    assert read_certificate(facts(("URI", URI), serial="-1")) is None
