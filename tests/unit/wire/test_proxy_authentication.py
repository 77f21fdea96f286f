"""The talk with a proxy that wants authentication: what it offers, and what we say next."""

import base64
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.wire.heads import ResponseHead
from arcgate.wire.proxy_authentication import (
    MOST_ROUNDS,
    Authentication,
    AuthenticationFailed,
    Basic,
    Challenge,
    Mechanism,
    MechanismError,
    Scheme,
    parse_challenges,
)


def refusal(*values: str) -> ResponseHead:
    return ResponseHead(407, "Who?", tuple(("proxy-authenticate", value) for value in values))


class Counting:
    """A mechanism whose tokens count what it was given."""

    def __init__(self, fails: bool = False) -> None:
        self.given: list[bytes] = []
        self.is_complete = False
        self._fails = fails

    @property
    def shows_password(self) -> bool:
        return len(self.given) > 1

    def step(self, challenge: bytes) -> bytes:
        if self._fails:
            raise MechanismError("no ticket", "kinit")
        self.given.append(challenge)
        return b"%d" % len(self.given)


def field(scheme: str, token: bytes) -> tuple[tuple[str, str], ...]:
    return (("Proxy-Authorization", f"{scheme} {base64.b64encode(token).decode()}"),)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Negotiate", "NTLM"], ["negotiate", "ntlm"]),
        (["Negotiate, NTLM, Basic realm=\"a, b\""], ["negotiate", "ntlm", "basic"]),
        (['Basic realm="say \\"NTLM, Negotiate\\"", charset="UTF-8"'], ["basic"]),
        (["Digest realm=\"x\", nonce=\"y==\", qop=\"auth\", Basic realm=z"], ["digest", "basic"]),
        (["", ",,", "=", '"'], []),
        (["bAsIc realm=x"], ["basic"]),
    ],
)  # fmt: skip
def test_what_a_proxy_offers_is_read_from_one_field_or_several(values: list[str], expected: list[str]) -> None:
    assert [one.scheme for one in parse_challenges(refusal(*values))] == expected


def test_a_token_comes_decoded() -> None:
    assert parse_challenges(refusal("NTLM TlRMTQ==")) == (Challenge("ntlm", b"NTLM"),)
    assert parse_challenges(refusal("NTLM TlRM=TQ")) == (Challenge("ntlm"),)


@given(st.text(st.characters(min_codepoint=9, max_codepoint=255), max_size=300))
def test_no_field_is_too_strange(value: str) -> None:
    for challenge in parse_challenges(refusal(value)):
        assert challenge.scheme.isascii()


def makers(**mechanisms: Mechanism) -> Authentication:
    return Authentication({Scheme(name): partial(_same, made) for name, made in mechanisms.items()})


def _same(made: Mechanism) -> Mechanism:
    return made


def test_the_strongest_scheme_of_both_sides_is_taken() -> None:
    talk = makers(ntlm=Counting(), basic=Basic("u", "p"))
    assert talk.first() == ()
    assert talk.next(refusal("Basic realm=x", "Digest", "NTLM", "Negotiate")) == field("NTLM", b"1")
    assert talk.scheme is Scheme.NTLM


def test_tokens_go_back_and_forth_on_one_connection() -> None:
    ntlm = Counting()
    talk = makers(ntlm=ntlm)
    talk.next(refusal("NTLM"))
    bound = [talk.is_bound]
    assert talk.next(refusal("NTLM Zm9v")) == field("NTLM", b"2")
    assert [*bound, talk.is_bound] == [False, True]
    assert ntlm.given == [b"", b"foo"]


def test_a_weaker_scheme_is_tried_when_the_stronger_one_can_not_begin() -> None:
    talk = makers(negotiate=Counting(fails=True), basic=Basic("u", "p"))
    assert talk.next(refusal("Negotiate", "Basic")) == field("Basic", b"u:p")


def test_each_scheme_is_tried_once_and_all_are_told() -> None:
    talk = makers(negotiate=Counting(fails=True), basic=Basic("u", "p"))
    talk.next(refusal("Negotiate", "Basic"))
    with pytest.raises(AuthenticationFailed) as caught:
        talk.next(refusal("Negotiate", "Basic"))
    assert caught.value.offered == ("negotiate", "basic")
    assert [(one.scheme, one.was_refused) for one in caught.value.tried] == [
        (Scheme.NEGOTIATE, False),
        (Scheme.BASIC, True),
    ]


def test_a_refused_password_is_not_said_again_in_a_weaker_scheme() -> None:
    ntlm = Counting()
    talk = makers(ntlm=ntlm, basic=Basic("u", "p"))
    talk.next(refusal("NTLM", "Basic"))
    talk.next(refusal("NTLM Zm9v"))
    with pytest.raises(AuthenticationFailed) as caught:
        talk.next(refusal("NTLM", "Basic"))
    assert caught.value.is_wrong_password


def test_what_was_refused_before_comes_last() -> None:
    mechanisms: dict[Scheme, Callable[[], Mechanism]] = {Scheme.NTLM: Counting, Scheme.BASIC: lambda: Basic("u", "p")}
    talk = Authentication(mechanisms, None, {Scheme.NTLM})
    assert talk.next(refusal("NTLM", "Basic")) == field("Basic", b"u:p")
    talk = Authentication(mechanisms, None, {Scheme.NTLM, Scheme.BASIC})
    assert talk.next(refusal("NTLM", "Basic")) == field("NTLM", b"1")


def test_a_ticket_or_a_first_token_that_is_refused_says_nothing_of_the_password() -> None:
    talk = makers(ntlm=Counting(), basic=Basic("u", "p"))
    talk.next(refusal("NTLM", "Basic"))
    assert talk.next(refusal("NTLM", "Basic")) == field("Basic", b"u:p")


def test_a_scheme_that_the_proxy_takes_back_says_nothing_of_the_password() -> None:
    basic = Basic("u", "p")
    talk = Authentication({Scheme.BASIC: lambda: basic}, Scheme.BASIC)
    talk.first()
    with pytest.raises(AuthenticationFailed) as caught:
        talk.next(refusal("Digest realm=x"))
    assert not caught.value.is_wrong_password


def test_a_password_that_kerberos_judged_wrong_goes_nowhere_else() -> None:
    class Judged(Counting):
        def step(self, challenge: bytes) -> bytes:
            raise MechanismError("Preauthentication failed", is_refusal=True)

    talk = Authentication({Scheme.NEGOTIATE: Judged, Scheme.BASIC: lambda: Basic("u", "p")}, Scheme.NEGOTIATE)
    assert talk.first() == ()
    with pytest.raises(AuthenticationFailed) as caught:
        talk.next(refusal("Negotiate", "Basic"))
    assert caught.value.is_wrong_password


def test_a_proxy_that_never_has_enough_is_given_up() -> None:
    talk = makers(ntlm=Counting())
    talk.next(refusal("NTLM"))
    for _ in range(MOST_ROUNDS - 1):
        talk.next(refusal("NTLM Zm9v"))
    with pytest.raises(AuthenticationFailed):
        talk.next(refusal("NTLM Zm9v"))


def test_what_the_proxy_took_the_last_time_is_said_at_once() -> None:
    basic = Basic("u", "p")
    talk = Authentication({Scheme.BASIC: lambda: basic, Scheme.NTLM: Counting}, Scheme.BASIC)
    assert talk.first() == field("Basic", b"u:p")
    assert talk.is_complete
    assert talk.next(refusal("NTLM")) == field("NTLM", b"1")


def test_a_remembered_scheme_that_can_not_begin_is_no_failure_yet() -> None:
    talk = Authentication({Scheme.NEGOTIATE: lambda: Counting(fails=True)}, Scheme.NEGOTIATE)
    assert talk.first() == ()
    with pytest.raises(AuthenticationFailed) as caught:
        talk.next(refusal("Negotiate"))
    assert [one.remedy for one in caught.value.tried] == ["kinit"]


def test_a_scheme_that_is_not_allowed_any_more_is_forgotten() -> None:
    assert Authentication({}, Scheme.BASIC).first() == ()


@pytest.mark.parametrize("value", ['"' + '\\"' * 23_000, '"\\' * 15_000, '"a' * 20_000, "a=" * 20_000, "," * 40_000])
def test_a_hostile_field_takes_no_longer_than_its_length_lets_expect(value: str) -> None:
    # Quadratic time would be minutes, which the time limit of a test doesn't give.
    for _ in range(20):
        parse_challenges(refusal(value))


def test_what_follows_a_quotation_that_never_ends_belongs_to_it() -> None:
    assert [one.scheme for one in parse_challenges(refusal('Basic realm="x, NTLM, Negotiate'))] == ["basic"]
