"""Sealed settings open for one machine, extension and revision, and for nobody else."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from arcgate.core.errors import InputError
from arcgate.wire.sealed_settings import PrivateKey, open_sealed, seal

SECRET = {"key": "hunter2"}


@pytest.fixture(scope="module", params=["rsa", "ec"])
def key(request: pytest.FixtureRequest) -> PrivateKey:
    if request.param == "rsa":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return ec.generate_private_key(ec.SECP256R1())


def test_the_holder_of_the_key_opens_them(key: PrivateKey) -> None:
    sealed = seal(key.public_key(), "m", "AMA", 7, SECRET)
    assert "hunter2" not in sealed
    assert open_sealed(key, "m", "AMA", 7, sealed) == SECRET


@pytest.mark.parametrize("place", [("other", "AMA", 7), ("m", "CSE", 7), ("m", "AMA", 8)])
def test_they_are_good_for_their_place_alone(key: PrivateKey, place: tuple[str, str, int]) -> None:
    sealed = seal(key.public_key(), "m", "AMA", 7, SECRET)
    with pytest.raises(InputError, match="protected settings") as caught:
        open_sealed(key, *place, sealed)
    assert "hunter2" not in caught.value.one_line()


@pytest.mark.parametrize("text", ["", "a.b.c", "....", "x" * 3_000_000, "ä.b.c.d.e", "e30.e30.e30.e30.e30"])
def test_anything_else_is_refused(key: PrivateKey, text: str) -> None:
    with pytest.raises(InputError):
        open_sealed(key, "m", "AMA", 7, text)


def test_an_altered_seal_does_not_open(key: PrivateKey) -> None:
    sealed = seal(key.public_key(), "m", "AMA", 7, SECRET)
    head, _, tag = sealed.rpartition(".")
    with pytest.raises(InputError):
        open_sealed(key, "m", "AMA", 7, f"{head}.{'A' if tag[0] != 'A' else 'B'}{tag[1:]}")
