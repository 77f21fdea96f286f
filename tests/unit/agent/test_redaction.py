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
