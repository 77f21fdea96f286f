"""azcmagent as people and scripts meet it: exit codes, text and JSON."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from arcgate import __version__
from arcgate.agent.commands import cli
from arcgate.agent.commands.console import Console
from arcgate.agent.machine_key import MachineKey, now
from arcgate.agent.paths import AgentPaths
from arcgate.agent.state import AgentIdentity, ServiceLock, write_identity


@dataclass
class Result:
    """What a run left on the terminal."""

    code: int
    output: str
    errors: str

    @property
    def document(self) -> Any:
        return json.loads(self.output)


Run = Callable[..., Result]
GUID = "22222222-2222-4222-8222-222222222222"


@pytest.fixture
def azcmagent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AZCMAGENT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AZCMAGENT_CLOUDS", str(tmp_path / "clouds"))
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str, **hidden: str) -> Result:
        code = cli.run(list(arguments), {f"--{name.replace('_', '-')}": value for name, value in hidden.items()})
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture
def paths(tmp_path: Path) -> AgentPaths:
    return AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path / "home")})


def test_without_arguments_the_commands_are_listed(azcmagent: Run) -> None:
    result = azcmagent()
    assert result.code == 0
    assert all(name in result.output for name in cli.COMMANDS)


@pytest.mark.parametrize("name", sorted(cli.COMMANDS))
def test_every_command_has_help(azcmagent: Run, name: str) -> None:
    for arguments in ((name, "--help"), (name, "-h"), ("help", name)):
        result = azcmagent(*arguments)
        assert result.code == 0
        assert f"Usage: azcmagent {name}" in result.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("nonsense", "-j"), 23),
        (("show", "--nonsense", "--json"), 23),
        (("check", "--hours", "0", "-vj"), 23),
        (("connect", "--config", "/does/not/exist", "-j"), 19),
        (("config", "set", "-j"), 16),
    ],
)
def test_with_j_a_failure_is_json_wherever_the_flag_stands(
    azcmagent: Run, arguments: tuple[str, ...], code: int
) -> None:
    result = azcmagent(*arguments)
    assert result.code == code
    assert result.document["error"]["code"] == f"AZCM{code:04}"


def test_words_behind_two_hyphens_are_no_flags(azcmagent: Run) -> None:
    assert azcmagent("show", "--", "-j").output.startswith("Exit Code: AZCM0023")


@pytest.mark.parametrize(("arguments", "key"), [(("help",), "help"), (("completion", "zsh"), "script")])
def test_texts_are_json_as_well(azcmagent: Run, arguments: tuple[str, ...], key: str) -> None:
    assert "azcmagent" in azcmagent(*arguments, "-j").document[key]


def test_help_reaches_commands_of_commands(azcmagent: Run) -> None:
    assert "--add" in azcmagent("help", "config", "set").output


@pytest.mark.parametrize("arguments", [("nonsense",), ("help", "nonsense"), ("show", "--nonsense"), ("config", "x")])
def test_what_does_not_exist_is_azcm0023(azcmagent: Run, arguments: tuple[str, ...]) -> None:
    result = azcmagent(*arguments)
    assert result.code == 23
    assert result.output.startswith("Exit Code: AZCM0023: Invalid Argument\n")


def test_a_missing_argument_is_azcm0016(azcmagent: Run) -> None:
    assert azcmagent("config", "get").code == 16


def test_version_is_shown_as_text_and_json(azcmagent: Run) -> None:
    assert azcmagent("version").output == f"azcmagent version {__version__}\n"
    assert azcmagent("version", "-j").document == {"version": __version__}


def test_errors_are_json_with_the_json_flag(azcmagent: Run) -> None:
    result = azcmagent("config", "set", "connection.type", "GATEWAY", "--json")
    assert result.code == 23
    assert result.document["error"]["code"] == "AZCM0023"


def test_errors_go_to_standard_error_when_asked_to(azcmagent: Run) -> None:
    result = azcmagent("config", "get", "nothing", "--log-stderr")
    assert result.output == ""
    assert result.errors.startswith("Exit Code: AZCM0023")


def test_flags_of_printing_may_stand_before_the_command(azcmagent: Run) -> None:
    assert azcmagent("-j", "version").document == {"version": __version__}


def test_verbose_logs_on_standard_error(azcmagent: Run, paths: AgentPaths) -> None:
    result = azcmagent("config", "set", "connection.type", "nonsense", "-v")
    assert "level=error" in result.errors
    assert "level=error" not in result.output


def test_a_setting_is_set_shown_and_cleared(azcmagent: Run) -> None:
    assert azcmagent("config", "set", "connection.type", "gateway").code == 0
    assert azcmagent("config", "get", "connection.type").output == "gateway\n"
    assert azcmagent("config", "clear", "connection.type").code == 0
    assert azcmagent("config", "get", "connection.type").output == "default\n"


def test_list_items_are_added_and_removed(azcmagent: Run) -> None:
    azcmagent("config", "set", "proxy.bypass", "Arc")
    azcmagent("config", "set", "proxy.bypass", "ARM", "--add")
    assert azcmagent("config", "get", "proxy.bypass").output == "[Arc ARM]\n"
    azcmagent("config", "set", "proxy.bypass", "Arc", "-r")
    assert azcmagent("config", "get", "proxy.bypass").output == "[ARM]\n"


def test_add_and_remove_together_are_azcm0027(azcmagent: Run) -> None:
    assert azcmagent("config", "set", "proxy.bypass", "Arc", "-a", "-r").code == 27


def test_the_list_has_every_setting_and_no_password(azcmagent: Run) -> None:
    azcmagent("config", "set", "proxy.url", "http://user:hunter2@proxy:3128")
    text, document = azcmagent("config", "list"), azcmagent("config", "list", "-j").document
    assert "hunter2" not in text.output + str(document)
    values = {one["Key"]: one["value"] for one in document["localsettings"]}
    assert values["proxy.url"] == "http://proxy:3128"
    assert values["connection.type"] == "default"
    assert text.output.startswith("Local Configuration Settings\n")


def test_the_password_of_a_proxys_url_is_put_into_a_closed_file(azcmagent: Run, paths: AgentPaths) -> None:
    urls = "http://user:hunter2@proxy:3128, https://other:3129"
    assert "hunter2" not in azcmagent("config", "set", "proxy.url", urls).output
    assert azcmagent("config", "get", "proxy.url").output == "http://proxy:3128,https://other:3129\n"
    assert "hunter2" not in paths.local_configuration.read_text()
    assert "http://user:hunter2@proxy:3128\n" in paths.proxy_credentials.read_text()
    assert paths.proxy_credentials.stat().st_mode & 0o007 == 0


def test_settings_are_explained(azcmagent: Run) -> None:
    assert "default, direct, gateway" in azcmagent("config", "info", "connection.type").output
    assert azcmagent("config", "info").code == 0


def test_both_settings_files_damaged_is_azcm0070_with_the_file(azcmagent: Run, paths: AgentPaths) -> None:
    paths.prepare()
    paths.local_configuration.write_text("{")
    result = azcmagent("config", "list")
    assert result.code == 70
    assert "localconfig.json" in result.output


def test_changes_need_privileges_outside_a_home_of_ones_own(azcmagent: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZCMAGENT_HOME")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for arguments in (("config", "set", "proxy.url", ""), ("connect",), ("disconnect",)):
        assert azcmagent(*arguments).code == 18


def test_show_works_on_a_machine_with_no_files_at_all(azcmagent: Run, paths: AgentPaths) -> None:
    result = azcmagent("show")
    assert result.code == 0
    assert "Agent Status                             : Disconnected\n" in result.output
    assert not paths.home.exists()


def test_show_prints_single_properties(azcmagent: Run) -> None:
    result = azcmagent("show", "Agent Status", "connectionType")
    assert result.output.splitlines() == [
        "Agent Status                             : Disconnected",
        "Connection Type                          : default",
    ]
    assert azcmagent("show", "nothing").code == 23


def test_show_tells_of_damaged_files_and_still_shows_the_rest(azcmagent: Run, paths: AgentPaths) -> None:
    paths.prepare()
    paths.goal.write_text("{")
    paths.agent_configuration.write_text("[]")
    result = azcmagent("show", "-j")
    assert result.code == 0
    assert "goal.json" in result.document["errorDetails"]
    assert "agentconfig.json" in result.document["errorDetails"]


def test_logs_are_collected(azcmagent: Run, tmp_path: Path) -> None:
    result = azcmagent("logs", "-o", str(tmp_path / "logs.zip"), "-j")
    assert result.code == 0
    assert result.document["file"] == str(tmp_path / "logs.zip")
    assert azcmagent("logs", "-o", str(tmp_path / "logs.zip")).code == 23


def test_route_explains_itself(azcmagent: Run) -> None:
    document = azcmagent("route", "login.example.com", "-j").document
    assert document == {
        "target": "login.example.com:443",
        "route": "direct",
        "reason": "no gateway is associated",
        "rule": "",
    }


def test_flags_may_come_from_a_file_and_the_command_line_goes_before_it(azcmagent: Run, tmp_path: Path) -> None:
    file = tmp_path / "connect.json"
    file.write_text(json.dumps({"resource-group": "servers", "location": "moon/base", "subscription-id": "Main"}))
    result = azcmagent("connect", "--config", str(file))
    assert result.code == 23
    assert "moon/base" in result.output
    result = azcmagent("connect", "--config", str(file), "--location", "mars/base")
    assert "mars/base" in result.output


def test_flags_may_come_from_a_yaml_file_as_the_texts_that_stand_there(azcmagent: Run, tmp_path: Path) -> None:
    file = tmp_path / "connect.yaml"
    file.write_text("# ours\nresource-group: servers\nsubscription-id: no\nlocation: 1_000\nuse-device-code: true\n")
    result = azcmagent("connect", "--config", str(file))
    assert result.code == 23
    assert "1_000" in result.output


@pytest.mark.parametrize(
    "content",
    [
        *("{", "[]", '{"resource-group": []}'),
        *("- a", "text", "a: [1]", "a: {b: c}", "? [1]\n: 2", "a: 1\n---\nb: 2", "\ta: 1", "a: *b", "\x00"),
        "a: !!python/object/apply:os.system [id]",
        "[" * 5000,
    ],
)
def test_a_malformed_file_is_azcm0019(azcmagent: Run, tmp_path: Path, content: str) -> None:
    file = tmp_path / "connect.json"
    file.write_text(content)
    assert azcmagent("connect", "--config", str(file)).code == 19


def test_a_missing_file_is_azcm0019_and_an_unknown_flag_in_it_is_azcm0023(azcmagent: Run, tmp_path: Path) -> None:
    file = tmp_path / "connect.json"
    assert azcmagent("connect", "--config", str(file)).code == 19
    file.write_text('{"resourcegroup": "x"}')
    result = azcmagent("connect", "--config", str(file))
    assert result.code == 23
    assert "resourcegroup" in result.output


CONNECT = ("connect", "-g", "servers", "-l", "eastus", "-s", "Main", "-t", "tenant")


def test_two_ways_to_sign_in_are_azcm0027(azcmagent: Run) -> None:
    assert azcmagent(*CONNECT, "-i", "app", "--use-device-code", service_principal_secret="s").code == 27


def test_a_service_principal_without_a_secret_is_azcm0016(azcmagent: Run) -> None:
    assert azcmagent(*CONNECT, "-i", "app").code == 16


def test_the_secret_comes_from_the_environment_or_a_file(
    azcmagent: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_text("hunter2\n")
    # The next complaint is about the missing cloud: the sign-in's flags were accepted.
    assert azcmagent(*CONNECT, "-i", "app", "--service-principal-secret-file", str(file)).code == 75
    monkeypatch.setenv("AZCMAGENT_SERVICE_PRINCIPAL_SECRET", "hunter2")
    assert azcmagent(*CONNECT, "-i", "app").code == 75


def test_a_certificate_goes_with_a_client_id_and_without_a_secret(azcmagent: Run, tmp_path: Path) -> None:
    file = str(tmp_path / "client.pem")
    assert azcmagent(*CONNECT, "-i", "app", "--service-principal-cert", file).code == 19
    both = azcmagent(*CONNECT, "-i", "app", "--service-principal-cert", file, service_principal_secret="s")
    assert both.code == 27


@pytest.mark.parametrize(
    "words",
    [
        ("-i", "a\udcff", "-p", "s"),
        ("-i", "app", "-p", "s\udcff"),
        ("-t", "t\udcff"),
        ("--user-tenant-id", "\udcff"),
    ],
)
def test_what_is_no_text_is_azcm0023(azcmagent: Run, words: tuple[str, ...]) -> None:
    result = azcmagent(*CONNECT, *words)
    assert result.code == 23
    assert "s\udcff" not in result.output


def test_a_token_for_the_audit_that_is_none_is_azcm0012(azcmagent: Run, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("cut off…")
    result = azcmagent("check", "--which-rules-may-go", "--audit-token", str(tmp_path / "token"))
    assert result.code == 12
    assert "Remedy: " in result.output


def test_an_empty_secret_file_is_azcm0023(azcmagent: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")
    assert azcmagent(*CONNECT, "-i", "app", "--service-principal-secret-file", str(tmp_path / "secret")).code == 23


def test_forcing_a_disconnect_cleans_even_a_damaged_machine(azcmagent: Run, paths: AgentPaths) -> None:
    paths.prepare()
    paths.agent_configuration.write_text("{")
    paths.machine_key.write_text("nonsense")
    assert azcmagent("disconnect", "--force-local-only").code == 0
    assert not paths.agent_configuration.exists()
    assert not paths.machine_key.exists()


def test_disconnecting_a_machine_that_is_not_connected_is_no_error(azcmagent: Run) -> None:
    result = azcmagent("disconnect")
    assert result.code == 0
    assert "not connected" in result.output


def test_a_defect_of_ours_is_one_sentence_and_its_trace_is_in_the_log(
    azcmagent: Run, paths: AgentPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("unexpected")

    paths.prepare()
    monkeypatch.setattr("arcgate.agent.commands.show.read_facts", fail)
    result = azcmagent("show")
    assert result.code == 2
    assert "Traceback" not in result.output + result.errors
    assert "Traceback" in paths.azcmagent_log.read_text()


def test_a_key_is_made_ahead_once_and_its_public_half_is_printed(azcmagent: Run, paths: AgentPaths) -> None:
    document = azcmagent("genkey", "-j").document
    assert azcmagent("genkey").output == f"{document['publicKey']}\n"
    assert MachineKey.load(paths.machine_key).client_public_key == document["publicKey"]
    assert paths.machine_key.stat().st_mode & 0o007 == 0


def test_a_connected_machine_keeps_its_key(azcmagent: Run, paths: AgentPaths) -> None:
    paths.prepare()
    write_identity(
        paths,
        AgentIdentity("s", "servers", "box", "/box", "t", "eastus", "01234567-0123-0123-0123-0123456789ab", "Arcgate"),
    )
    assert azcmagent("genkey").code == 67
    assert not paths.machine_key.exists()


def test_a_key_that_cannot_be_written_is_azcm0103(
    azcmagent: Run, paths: AgentPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("arcgate.agent.machine_key.write_file", fail)
    result = azcmagent("genkey")
    assert result.code == 103
    assert "No space left on device" in result.output


def test_folders_that_cannot_be_made_are_azcm0006(azcmagent: Run, paths: AgentPaths) -> None:
    paths.home.write_text("a file in the folder's place")
    assert azcmagent("genkey").code == 6


def test_a_setting_that_cannot_be_stored_is_azcm0069(azcmagent: Run, paths: AgentPaths) -> None:
    paths.prepare()
    (paths.home / ".localconfig.json.lock").mkdir()
    for arguments in (("config", "set", "connection.type", "direct"), ("config", "clear", "connection.type")):
        assert azcmagent(*arguments).code == 69


def test_what_disconnect_cannot_remove_is_azcm0063(azcmagent: Run, paths: AgentPaths) -> None:
    paths.machine_key.mkdir(parents=True)
    result = azcmagent("disconnect", "--force-local-only")
    assert result.code == 63
    assert "machine.key" in result.output


def test_a_second_connect_at_the_same_time_is_azcm0062(azcmagent: Run, paths: AgentPaths) -> None:
    paths.prepare()
    with ServiceLock(paths.layout.state / "azcmagent.lock"):
        assert azcmagent("genkey").code == 62


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands_flags_and_settings(
    azcmagent: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    assert f"_AZCMAGENT_COMPLETE={shell}_complete" in azcmagent("completion", shell).output
    monkeypatch.setenv("_AZCMAGENT_COMPLETE", f"{shell}_complete")
    for words, place, expected in (
        ("azcmagent co", "1", "connect"),
        ("azcmagent config set proxy", "3", "proxy.bypass"),
        ("azcmagent connect --gate", "2", "--gateway-id"),
    ):
        monkeypatch.setenv("COMP_WORDS", words)
        monkeypatch.setenv("COMP_CWORD", words.rpartition(" ")[2] if shell == "fish" else place)
        with pytest.raises(SystemExit):
            cli.run([], {})
        assert expected in capsys.readouterr().out


def test_rules_that_may_go_are_told_from_the_log(azcmagent: Run, paths: AgentPaths) -> None:
    paths.prepare()
    paths.arcproxy_log.write_text(
        "time=2020-01-02T10:00:00Z level=info msg=started\n"
        f"time={now().isoformat()} level=info msg=request target=graph.microsoft.com:443 way=direct\n"
    )
    document = azcmagent("check", "--which-rules-may-go", "--hours", "1", "-j").document
    advice = {rule["endpoint"]: rule["advice"] for rule in document["rules"]}
    assert advice["graph.microsoft.com"] == "keep"
    assert advice["management.azure.com"] == "not known"
    text = azcmagent("check", "--which-rules-may-go", "--hours", "1")
    assert text.code == 0
    assert "KEEP (1)\n  graph.microsoft.com" in text.output


def test_without_a_log_nothing_is_said_of_rules(azcmagent: Run, paths: AgentPaths) -> None:
    result = azcmagent("check", "--which-rules-may-go")
    assert result.code == 70
    assert "arcproxy.log" in result.output


def test_progress_is_for_terminals_alone() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    pipe, terminal, document = io.StringIO(), Terminal(), Terminal()
    Console(output=pipe).progress(50)
    Console(output=terminal).progress(50)
    Console(is_json=True, output=document).progress(50)
    assert (pipe.getvalue(), document.getvalue()) == ("", "")
    assert terminal.getvalue() == "  50% [=======>       ]\n"


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--automanage-profile", "/providers/x"), 3, "--automanage-profile"),
        (("--enable-automatic-upgrade",), 3, "azcmagent upgrade"),
        (("--service-principal-cert-thumbprint", "AB12"), 3, "--service-principal-cert FILE"),
        (("--use-azcli", "--use-device-code"), 27, "--use-azcli"),
        (("--use-aws-ec2-hostname", "--resource-name", "box"), 27, "Leave one of them out"),
        (("--private-link-scope", "/subscriptions/x"), 23, "privateLinkScopes"),
    ],
)
def test_flags_of_the_original_that_cannot_be_acted_on_are_refused_with_what_to_do(
    azcmagent: Run, flags: tuple[str, ...], code: int, words: str
) -> None:
    result = azcmagent("connect", "-g", "servers", "-l", "eastus", "-s", GUID, *flags)
    assert result.code == code
    assert f"AZCM{code:04}" in result.output + result.errors
    assert words in result.output + result.errors


def test_a_file_of_flags_is_refused_as_the_flags_are(azcmagent: Run, tmp_path: Path) -> None:
    (tmp_path / "flags.yaml").write_text("enable-automatic-upgrade: true\n")
    assert azcmagent("connect", "--config", str(tmp_path / "flags.yaml")).code == 3


def test_a_key_in_a_tpm_is_azcm0028(azcmagent: Run) -> None:
    result = azcmagent("connect", "--identity-key-store", "TPM")
    assert result.code == 28
    assert "Leave --identity-key-store out" in result.output + result.errors


def test_the_usual_key_store_may_be_named(azcmagent: Run) -> None:
    assert azcmagent("connect", "--identity-key-store", "default").code == 16
