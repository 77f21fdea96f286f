"""Secrets among the arguments: found in every spelling, and handed on without the process list."""

import os

import pytest

from arcgate.agent.commands import hidden_arguments
from arcgate.agent.commands.hidden_arguments import VARIABLE, hide, split

SECRET = "--service-principal-secret"
TOKEN = "--access-token"


@pytest.mark.parametrize(
    ("arguments", "shown", "hidden"),
    [
        (["connect", "-g", "x"], ["connect", "-g", "x"], {}),
        (["connect", SECRET, "s", "-g", "x"], ["connect", "-g", "x"], {SECRET: "s"}),
        (["connect", f"{SECRET}=s=t"], ["connect"], {SECRET: "s=t"}),
        (["connect", "-p", "s"], ["connect"], {SECRET: "s"}),
        (["connect", "-ps"], ["connect"], {SECRET: "s"}),
        (["connect", "-p", "-starts-with-a-hyphen"], ["connect"], {SECRET: "-starts-with-a-hyphen"}),
        (["connect", TOKEN, "t", SECRET, "s"], ["connect"], {TOKEN: "t", SECRET: "s"}),
        (["disconnect", TOKEN, "t"], ["disconnect"], {TOKEN: "t"}),
        (["connect", SECRET], ["connect", SECRET], {}),
        (["check", "-p"], ["check", "-p"], {}),
        (["connect", "-g", "config", SECRET, "s"], ["connect", "-g", "config"], {SECRET: "s"}),
        (
            ["config", "set", "proxy.url", "http://u:p@squid:3128"],
            ["config", "set", "proxy.url", "***"],
            {"proxy.url": "http://u:p@squid:3128"},
        ),
        (["config", "set", "proxy.url", "http://squid:3128"], ["config", "set", "proxy.url", "http://squid:3128"], {}),
        (["config", "get", "proxy.url"], ["config", "get", "proxy.url"], {}),
        ([], [], {}),
    ],
)
def test_secrets_are_split_off_in_every_spelling(
    arguments: list[str], shown: list[str], hidden: dict[str, str]
) -> None:
    assert split(arguments) == (shown, hidden)


def test_the_second_start_reads_them_once_and_closes_the_file() -> None:
    environment = {VARIABLE: str(hidden_arguments._write({SECRET: "s"}))}
    assert hide(["connect"], environment) == {SECRET: "s"}
    assert environment == {}


@pytest.mark.parametrize("value", ["x", "-1", "999999", "²"])
def test_a_nonsense_descriptor_gives_no_secrets(value: str) -> None:
    assert hide(["connect"], {VARIABLE: value}) == {}


def test_the_first_start_hands_them_on_without_argument_or_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[tuple[list[str], dict[str, str]]] = []

    def execve(_program: str, arguments: list[str], environment: dict[str, str]) -> None:
        started.append((arguments, environment))

    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr("sys.orig_argv", ["python", "-P", "/usr/bin/azcmagent", "connect", "-p", "hunter2"])
    hide(["connect", "-p", "hunter2"], {"PATH": "/bin"})
    [(arguments, environment)] = started
    assert arguments == ["python", "-P", "/usr/bin/azcmagent", "connect"]
    assert "hunter2" not in str(environment)
    descriptor = int(environment[VARIABLE])
    assert os.read(descriptor, 100) == b'{"--service-principal-secret": "hunter2"}'
    os.close(descriptor)
