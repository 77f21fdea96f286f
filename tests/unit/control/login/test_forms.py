import pytest

from arcgate.control.login.failures import GrantError
from arcgate.control.login.forms import address_limit, read_form


def test_fields_are_decoded_once() -> None:
    assert read_form(b"a=1&b=%20x+y&c=") == {"a": "1", "b": " x y", "c": ""}


@pytest.mark.parametrize("body", [b"a=1&a=2", b"a=%ff", b"a=\xff", b"\x00", b"&".join(b"k%d=1" % n for n in range(60))])
def test_ambiguous_forms_are_refused(body: bytes) -> None:
    with pytest.raises(GrantError):
        read_form(body)


def test_our_own_front_end_speaks_for_many() -> None:
    assert address_limit("127.0.0.1") > address_limit("192.0.2.1")
