"""URLs: what we take of them, and that a password never shows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.core.errors import InputError
from arcgate.core.urls import parse_url, redact


@pytest.mark.parametrize(
    ("text", "origin", "path", "user", "password"),
    [
        ("http://proxy", "http://proxy", "/", "", ""),
        ("http://proxy:3128", "http://proxy:3128", "/", "", ""),
        ("https://Proxy.Example.:443/", "https://proxy.example", "/", "", ""),
        ("HTTPS://proxy.example/a?b=c#d", "https://proxy.example", "/a?b=c#d", "", ""),
        ("http://proxy:443", "http://proxy:443", "/", "", ""),
        ("http://u:p@proxy:3128", "http://proxy:3128", "/", "u", "p"),
        ("http://u@proxy", "http://proxy", "/", "u", ""),
        ("http://u%40corp:p%40%3A%2F%25@proxy", "http://proxy", "/", "u@corp", "p@:/%"),
        ("http://:@proxy", "http://proxy", "/", "", ""),
        ("http://u:p:q@proxy", "http://proxy", "/", "u", "p:q"),
        ("http://10.0.0.1:8080", "http://10.0.0.1:8080", "/", "", ""),
        ("http://[::1]:8080/x", "http://[::1]:8080", "/x", "", ""),
        ("http://münchen.de", "http://xn--mnchen-3ya.de", "/", "", ""),
    ],
)
def test_a_url_is_taken_apart(text: str, origin: str, path: str, user: str, password: str) -> None:
    url = parse_url(text)
    assert (url.origin, url.path, url.user, url.password) == (origin, path, user, password)


@pytest.mark.parametrize(
    "text",
    ["", "proxy", "proxy:3128", "//proxy", "ftp://proxy", "socks5://proxy", "http:/proxy", "http://", "http:///x",
     "http://:3128", "http://proxy:0", "http://proxy:99999", "http://proxy:65536", "http://proxy:+80", "http://proxy:",
     "http://[::1", "http://::1", "http://[::1]x", "http://[::1%25lo]", "http://pro xy", "http://proxy/a b",
     "http://proxy\n",
     "http://proxy/\x00", "http://proxy/ü", "http://proxy\\evil", "http://proxy?x", "http://proxy#x", "http://127.1",
     "http://0x7f000001", "http://*.example.com", " http://proxy", "http\u017f://proxy", "http://u:p@",
     "http://u:p@:80"],
)  # fmt: skip
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_url(text)
    assert caught.value.code == "URL_INVALID"
    assert "\n" not in caught.value.one_line()


SECRET = "hunter2secret"


@pytest.mark.parametrize(
    "text",
    [f"http://user:{SECRET}@h:99999", f"ftp://user:{SECRET}@h", f"http://user:a@{SECRET}@h",
    f"http://user:{SECRET}@a@h",
     f"http://user:a/{SECRET}@h", f"http://user:a b{SECRET}@h", f"http://user:a#{SECRET}@h",
     f"http://user:a?{SECRET}@h",
     f"user:{SECRET}@proxy:3128", f"http:/user:{SECRET}@proxy", "http://user:" + "x" * 300 + SECRET + "@h:0",
     "http://user:" + SECRET + "x" * 300 + "@h:0", f"http://{SECRET}:{SECRET}@127.1", f"http://u:{SECRET}\n@h",
     f"http://user:{SECRET}@[::1"],
)  # fmt: skip
def test_the_error_for_a_url_never_shows_its_password(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_url(text)
    assert SECRET not in caught.value.one_line()
    assert SECRET not in repr(caught.value)


def test_a_url_prints_without_user_and_password() -> None:
    url = parse_url(f"https://user:{SECRET}@proxy.example:8443/path")
    for shown in (str(url), repr(url), url.origin, f"{url}"):
        assert SECRET not in shown
        assert "user" not in shown
    assert str(url) == "https://proxy.example:8443/path"
    assert str(parse_url("https://a.example/")) == "https://a.example"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://u:p@h", "http://***@h"),
        ("dial http://u:p@h:1 and https://v:q@i/x failed", "dial http://***@h:1 and https://***@i/x failed"),
        ("http://u@h", "http://***@h"),
        ("http://u:a@b@h", "http://***@h"),
        ("http://u:a/b@h", "http://***@h"),
        ("http://u:a#b@h", "http://***@h"),
        ("postgresql+asyncpg://u:p@db/x", "postgresql+asyncpg://***@db/x"),
        ("HTTP://U:P@h", "HTTP://***@h"),
        ("http://h/x mail a@b", "http://h/x mail a@b"),
        ("http://h/path/a@b", "http://h/path/a@b"),
        ("http://h:80/path b@c", "http://h:80/path b@c"),
        ("no url, a@b", "no url, a@b"),
        ("", ""),
    ],
)
def test_redaction_replaces_user_and_password_of_every_url(text: str, expected: str) -> None:
    assert redact(text) == expected


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=" "), min_size=1, max_size=20))
def test_no_password_of_printable_characters_survives_redaction(password: str) -> None:
    text = redact(f"see http://user:PLANTED{password}PLANTED@proxy.example:3128/")
    assert "PLANTED" not in text
    assert text.endswith("@proxy.example:3128/")
