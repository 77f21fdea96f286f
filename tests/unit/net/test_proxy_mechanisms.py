"""NTLM towards proxies that answer with anything."""

import contextlib

import pytest
import spnego
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.urls import parse_url
from arcgate.net.proxy_mechanisms import Ntlm
from arcgate.wire.proxy_authentication import MechanismError

PROXY = parse_url("http://CORP%5Cuser:hunter2secret@proxy.example")


@pytest.fixture(scope="module", params=["ntlm", "negotiate"])
def exchange(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """A protocol, and a challenge of a real server's."""
    file = tmp_path_factory.mktemp("ntlm") / "users"
    file.write_text("CORP:user:hunter2secret\n")
    protocol: str = request.param
    options = spnego.NegotiateOptions.use_ntlm if protocol == "ntlm" else spnego.NegotiateOptions.use_negotiate
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("NTLM_USER_FILE", str(file))
        server = spnego.server(protocol=protocol, options=options)
        challenge = server.step(Ntlm(PROXY, protocol).step(b""))
    assert challenge is not None
    return protocol, challenge


def test_a_proper_challenge_is_answered(exchange: tuple[str, bytes]) -> None:
    protocol, challenge = exchange
    mechanism = Ntlm(PROXY, protocol)
    mechanism.step(b"")
    assert not mechanism.shows_password
    assert mechanism.step(challenge)
    assert mechanism.shows_password


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 255)), max_size=4), st.integers(0, 300))
def test_no_challenge_does_more_than_fail(
    exchange: tuple[str, bytes], changes: list[tuple[int, int]], cut: int
) -> None:
    protocol, challenge = exchange
    broken = bytearray(challenge[: cut or None])
    for place, value in changes:
        broken[place % len(broken)] = value
    mechanism = Ntlm(PROXY, protocol)
    mechanism.step(b"")
    with contextlib.suppress(MechanismError):
        mechanism.step(bytes(broken))
