"""The file with users and passwords of enterprise proxies."""

from pathlib import Path

import pytest

from arcgate.agent.paths import AgentPaths
from arcgate.agent.proxy_credentials import ProxyCredentials, credentials_file, read_credentials, store_credentials
from arcgate.core.errors import StateError
from arcgate.core.urls import Url, parse_url

ONE, TWO = parse_url("http://one.example:3128"), parse_url("https://two.example")


def written(folder: Path, text: str, mode: int = 0o600) -> Path:
    file = folder / "credentials"
    file.touch(mode)
    file.chmod(mode)
    file.write_text(text)
    return file


def pair(proxy: Url) -> tuple[str, str]:
    return proxy.user, proxy.password


def test_a_line_is_for_every_proxy_or_for_one(tmp_path: Path) -> None:
    file = written(tmp_path, "# ours\n\nCORP\\user:pass: word\nhttps://other:p%40ss@two.example:443\n")
    credentials = read_credentials(file, must_exist=True)
    assert pair(credentials.complete(ONE)) == ("CORP\\user", "pass: word")
    assert pair(credentials.complete(TWO)) == ("other", "p@ss")


def test_what_a_url_says_itself_stays() -> None:
    own = parse_url("http://me:mine@one.example:3128")
    assert ProxyCredentials({"": ("user", "secret")}).complete(own) == own


def test_what_is_stored_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "certs" / "credentials"
    store_credentials(file, [parse_url("http://CORP%5Cu:p%3A%2F%23%25@one.example:3128"), TWO])
    assert file.stat().st_mode & 0o007 == 0
    credentials = read_credentials(file, must_exist=True)
    assert pair(credentials.complete(ONE)) == ("CORP\\u", "p:/#%")
    assert pair(credentials.complete(TWO)) == ("", "")


def test_a_file_that_need_not_be_there_may_be_missing(tmp_path: Path) -> None:
    assert read_credentials(tmp_path / "none", must_exist=False) == ProxyCredentials()


@pytest.mark.parametrize("text", ["hunter2secret", "user:", "http://proxy.example/hunter2secret@x y", "u:p\0\n\xff"])
def test_a_file_that_says_something_else_is_an_error_without_its_content(tmp_path: Path, text: str) -> None:
    file = written(tmp_path, "")
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(StateError) as caught:
        read_credentials(file, must_exist=True)
    assert caught.value.code == "PROXY_CREDENTIALS_UNUSABLE"
    assert "hunter2secret" not in caught.value.one_line()


def test_a_file_that_others_can_read_is_an_error_with_the_command_that_closes_it(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="can't be used") as caught:
        read_credentials(written(tmp_path, "u:p", 0o644), must_exist=True)
    assert "chmod 600" in caught.value.remedy


@pytest.mark.parametrize("make", [Path.mkdir, lambda place: None])
def test_a_named_file_that_is_missing_or_no_file_is_an_error(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "place")
    with pytest.raises(StateError):
        read_credentials(tmp_path / "place", must_exist=True)


def test_the_setting_goes_before_systemds_file_and_that_before_our_own(tmp_path: Path) -> None:
    paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path / "home")})
    systemd = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert credentials_file(paths, "", systemd) == paths.proxy_credentials
    (tmp_path / "proxy-credentials").write_text("u:p")
    assert credentials_file(paths, "", systemd) == tmp_path / "proxy-credentials"
    assert credentials_file(paths, "/etc/own", systemd) == Path("/etc/own")


def test_a_mark_of_windows_editors_is_no_part_of_the_user(tmp_path: Path) -> None:
    file = written(tmp_path, "\ufeffCORP\\user:password\r\n")
    assert pair(read_credentials(file, must_exist=True).complete(ONE)) == ("CORP\\user", "password")
