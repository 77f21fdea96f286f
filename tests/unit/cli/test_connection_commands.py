"""What `arcgate ssh` makes of its words."""

import shlex
import sys

import pytest

from arcgate.cli.connection_commands import parse_destination, ssh_arguments
from arcgate.cli.failures import EXIT_FAILED, EXIT_USAGE, run_command
from arcgate.cli.main import arcgate
from arcgate.core.errors import InputError
from arcgate.core.resource_ids import MACHINE_TYPE, ResourceId

MACHINE = ResourceId("11111111-1111-4111-8111-111111111111", "servers", MACHINE_TYPE, "Web-1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web-1", ("", "web-1")),
        ("ann@web-1", ("ann", "web-1")),
        ("CORP\\ann@web-1", ("CORP\\ann", "web-1")),
        ("ann@x.example@web-1", None),
        (f"ann@{MACHINE}", ("ann", str(MACHINE))),
    ],
)
def test_a_destination_is_a_user_and_a_machine(text: str, expected: tuple[str, str] | None) -> None:
    if expected is None:
        with pytest.raises(InputError):
            parse_destination(text)
    else:
        assert parse_destination(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "-oProxyCommand=x", "ann@-x", "-x@web", "web 1", "web\n1", "web;1", "$(x)", "`x`@web", "web|x", "a@b@c"),
        *("web\x00", "%n", "web'1", "wéb"),
    ],
)
def test_nothing_that_a_shell_or_ssh_would_make_more_of_is_a_destination(text: str) -> None:
    with pytest.raises(InputError):
        parse_destination(text)


def test_ssh_is_told_a_proxy_command_that_a_shell_splits_into_the_right_words() -> None:
    words = ssh_arguments(MACHINE, "ann", 2222, ())
    assert words[0] == "ssh"
    assert words[-2:] == ["--", "Web-1"]
    assert words[words.index("-l") + 1] == "ann"
    command = next(word for word in words if word.startswith("ProxyCommand=")).partition("=")[2]
    assert shlex.split(command.replace("%%", "%")) == [
        *(sys.executable, "-m", "arcgate.cli", "ssh-proxy", str(MACHINE), "2222")
    ]


def test_percent_signs_of_a_path_are_not_ssh_s_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/100%h and more/python")
    command = next(word for word in ssh_arguments(MACHINE, "", 22, ()) if word.startswith("ProxyCommand="))
    assert "100%%h and more" in command


def test_a_machine_keeps_its_host_key_s_name_whatever_address_ssh_sees() -> None:
    assert "HostKeyAlias=web-1.servers.arcgate" in ssh_arguments(MACHINE, "", 22, ())


@pytest.mark.parametrize(
    ("given", "ahead", "behind"),
    [
        (("-v", "uptime", "-p"), ["-v"], ["uptime", "-p"]),
        (("-L", "8080:localhost:80", "-N"), ["-L", "8080:localhost:80", "-N"], []),
        (("-vp22", "-o", "Compression=yes", "ls", "-l"), ["-vp22", "-o", "Compression=yes"], ["ls", "-l"]),
        (("-vL", "8080:localhost:80", "ls"), ["-vL", "8080:localhost:80"], ["ls"]),
    ],
)
def test_options_stand_ahead_of_the_machine_and_the_command_behind_it(
    given: tuple[str, ...], ahead: list[str], behind: list[str]
) -> None:
    words = ssh_arguments(MACHINE, "", 22, given)
    place = words.index("--")
    assert words[place - len(ahead) : place] == ahead
    assert words[place + 2 :] == behind


def test_options_of_ssh_s_own_are_not_taken_for_a_machine() -> None:
    assert run_command(arcgate, ["ssh", "-oProxyCommand=x", "web-1"]) == EXIT_USAGE


@pytest.mark.parametrize("address", ["0.0.0.0:22", "192.0.2.1:22", "localhost:22", "[::]:22"])
def test_only_loopback_addresses_are_listened_on(address: str) -> None:
    assert run_command(arcgate, ["tcp-proxy", "web-1", "22", "--listen", address]) == EXIT_FAILED
