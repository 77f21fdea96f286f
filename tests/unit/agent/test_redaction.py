"""No secret leaves with the logs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.agent.redaction import redact_text

SECRET = "Zq7xW2pLk9"


@pytest.mark.parametrize(
    "text",
    [
        f"http://user:{SECRET}@proxy:3128",
        f"https://{SECRET}@proxy",
        f'{{"servicePrincipalSecret": "{SECRET}"}}',
        f'{{"password":"{SECRET}\\" more {SECRET}"}}',
        f"password={SECRET}",
        f"client_secret={SECRET}&scope=x",
        f"--access-token={SECRET}",
        f"Authorization: Bearer {SECRET}",
        f"Proxy-Authorization: Basic {SECRET}==",
        f"token: '{SECRET}'",
        f"https://store/blob?sig={SECRET}&se=2026",
        f"eyJhbGciOiJSUzI1NiJ9.{SECRET}.{SECRET}",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}\ncut off",
    ],
)
def test_secrets_of_every_form_are_taken_out(text: str) -> None:
    assert SECRET not in redact_text(f"before {text} after")


def test_the_rest_of_a_line_stays() -> None:
    line = 'time=2026-01-01 level=info msg=request target=login.example.com:443 why="the gateway allows it" status=200'
    assert redact_text(line) == line


@given(st.text(max_size=200))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    once = redact_text(text)
    assert redact_text(once) == once


@pytest.mark.parametrize(
    "text",
    [
        f'password="{SECRET}',
        f'password="{SECRET}\\',
        f"secret: '{SECRET}",
        f'password="{SECRET}\nnext line',
        f"{'x' * 100}http://user:{SECRET}@proxy",
        f"http://a/b,http://user:{SECRET}@proxy,http://{SECRET}@other",
        f"http://host:80/x,ftp://{SECRET}@host/",
        f"id-eyJhbGciOiJSUzI1NiJ9.{SECRET}.{SECRET}",
    ],
)
def test_secrets_in_lines_that_were_cut_or_glued_together_are_taken_out(text: str) -> None:
    assert SECRET not in redact_text(text)


def test_a_string_without_an_end_takes_no_more_than_its_line() -> None:
    assert redact_text('password="abc\nnext line').endswith("\nnext line")


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a-",
        ".",
        "@",
        "-eyJ",
        "eyJaaaaa.",
        "http://",
        "http://a:",
        "password",
        'token="',
        "secret='",
        "basic ",
        "\\",
    ],
)
def test_the_longest_hostile_line_is_read_in_time(piece: str) -> None:
    """The time-out of a test is the measure: quadratic time would be hours."""
    for begin, end in (("", ""), ("http://", ""), ("eyJ", ""), ('password="', ""), ("", "://x:y@z")):
        assert redact_text(f"{begin}{piece * (200_000 // len(piece))}{end}")
