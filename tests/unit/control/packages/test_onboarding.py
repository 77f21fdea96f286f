"""Onboarding scripts: every value reaches its command as the same bytes, and each step that fails is the last one."""

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import tree_sitter_powershell
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_sitter import Language, Node, Parser

from arcgate.control.authority.authority import pem_of
from arcgate.control.authority.certificates import make_root
from arcgate.control.packages.onboarding import (
    Onboarding,
    powershell_literal,
    render_linux_onboarding,
    render_windows_onboarding,
    tag_argument,
)

CA = pem_of(make_root("Test", datetime.now(UTC)).certificate)
GATEWAY = "/subscriptions/7abd217b-129d-4ac8-9d4b-51d946c0a920/resourceGroups/g/providers/X/gateways/edge"
PLAIN = Onboarding(
    tenant_id="8e074ded-e857-48d6-bc41-5ad02f3795b3",
    subscription_id="7abd217b-129d-4ac8-9d4b-51d946c0a920",
    resource_group="servers",
    location="eastus",
    cloud="Arcgate",
    installer_url="https://abc.gw.arcgate.test/azcmagent-",
    log_url="https://gbl.his.arcgate.test/log",
    authorities_pem=CA,
    gateway_id=GATEWAY,
    tags={"City": "Zürich", "Data center": "one, two"},
)
SHELLS = [shell for shell in ("sh", "bash", "dash") if shutil.which(shell)]
HOSTILE = 'it\'s $(touch pwned) `touch pwned` "q" \\ ; & | > x\n-e %s *'

texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30) | st.just(HOSTILE)
tags = st.dictionaries(
    texts.map(lambda one: one.replace("'", "")), texts.map(lambda one: one.replace("'", "")), max_size=2
)
onboardings = st.builds(
    replace,
    st.just(PLAIN),
    resource_group=texts.filter(bool),
    resource_name=texts,
    secret_file=texts,
    service_principal_id=texts,
    cloud=texts,
    location=texts,
    proxy=texts,
    installer_url=texts,
    tags=tags,
)

NOTE = '#!/bin/sh\n{ printf "%s" "${0##*/}"; for one; do printf "\\0%s" "$one"; done; printf "\\0\\n"; } >>"$NOTES"\n'
"""A stand-in that writes down its name and arguments."""
DOWNLOAD = """
previous=
for one; do
    if [ "$previous" = --output ] && [ "$one" != /dev/null ]; then cp "$INSTALLER" "$one"; fi
    case $one in @*) cat "${one#@}" >>"$NOTES.report" ;; esac
    previous=$one
done
"""


class Machine:
    """Programs of a machine, each a stand-in that writes its arguments down."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = folder / "notes"
        (folder / "bin").mkdir()
        self.program("curl", NOTE + 'printf "proxy=%s\\n" "${https_proxy-}" >>"$NOTES.proxy"\n' + DOWNLOAD)
        self.program("azcmagent", NOTE)
        self.program("id", "#!/bin/sh\necho 0\n")
        (folder / "installer").write_text(NOTE.replace("#!/bin/sh", ": made by the cloud"))

    def program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, script: str, shell: str = "sh", **environment: str) -> subprocess.CompletedProcess[str]:
        for one in self.folder.glob("notes*"):
            one.unlink()
        file = self.folder / "onboard.sh"
        file.write_text(script)
        variables = {
            "PATH": f"{self.folder / 'bin'}:/usr/bin:/bin",
            "NOTES": str(self.notes),
            "INSTALLER": str(self.folder / "installer"),
            "AZCMAGENT_SERVICE_PRINCIPAL_SECRET": "canary",
            "LANG": "C.UTF-8",
            **environment,
        }
        return subprocess.run(
            [shell, str(file)],
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=30,
            check=False,
        )

    def calls(self, name: str) -> list[list[str]]:
        """The arguments of each call of a program."""
        if not self.notes.exists():
            return []
        lines = [one.split("\0") for one in self.notes.read_bytes().decode().split("\0\n")]
        return [arguments for program, *arguments in lines if program == name]

    @property
    def report(self) -> dict[str, str]:
        document = json.loads((self.folder / "notes.report").read_bytes())
        assert isinstance(document, dict)
        return document


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def flags(arguments: list[str]) -> dict[str, str]:
    return dict(zip(arguments[1::2], arguments[2::2], strict=True))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=25, deadline=None)
@given(one=onboardings)
def test_every_value_reaches_the_command_as_the_same_bytes(shared: Machine, shell: str, one: Onboarding) -> None:
    done = shared.run(render_linux_onboarding(one), shell)
    assert done.returncode == 0, done.stderr
    [connecting, _] = shared.calls("azcmagent")[1:]
    given_flags = flags(connecting)
    given_flags.pop("--correlation-id")
    wanted = {
        "--resource-group": one.resource_group,
        "--tenant-id": one.tenant_id,
        "--location": one.location,
        "--subscription-id": one.subscription_id,
        "--cloud": one.cloud,
        "--gateway-id": one.gateway_id,
        "--resource-name": one.resource_name,
        "--tags": tag_argument(one.tags),
        "--service-principal-id": one.service_principal_id,
    }
    optional = {"--resource-name", "--tags", "--service-principal-id"}
    assert given_flags == {name: value for name, value in wanted.items() if value or name not in optional}
    assert shared.calls("curl")[0][-1] == f"{one.installer_url}linux"
    assert not (shared.folder / "pwned").exists()


@pytest.mark.parametrize(
    "one",
    [
        PLAIN,
        replace(PLAIN, authorities_pem="", gateway_id="", tags={}),
        replace(PLAIN, tags={HOSTILE.replace("'", ""): "x"}),
    ],
)
def test_the_shell_script_is_clean_for_shellcheck(tmp_path: Path, one: Onboarding) -> None:
    file = tmp_path / "onboard.sh"
    file.write_text(render_linux_onboarding(one))
    # SC2016: single quotes around what looks like an expression are what hostile values need.
    command = ["shellcheck", "--shell=sh", "--exclude=SC2016", str(file)]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert checked.returncode == 0, checked.stdout


def test_a_machine_that_is_connected_already_is_left_alone(machine: Machine) -> None:
    known = f'  "resourceId": "/subscriptions/{PLAIN.subscription_id}/resourceGroups/Servers/providers/x"'
    machine.program("azcmagent", f"{NOTE}cat <<'END'\n{known}\nEND\n")
    done = machine.run(render_linux_onboarding(PLAIN))
    assert done.returncode == 0
    assert "connected already" in done.stdout
    assert machine.calls("curl") == []
    assert machine.calls("azcmagent") == [["show", "-j"]]


def test_on_a_connected_machine_the_services_that_a_former_run_left_out_are_started(machine: Machine) -> None:
    known = f'  "resourceId": "/subscriptions/{PLAIN.subscription_id}/resourceGroups/servers/providers/x",'
    shown = f'[ "$1" = show ] && cat <<\'END\'\n{known}\n  "himds": "running",\n  "arcproxy": "stopped",\nEND\n'
    machine.program("azcmagent", f"{NOTE}{shown}exit 0\n")
    one = replace(PLAIN, service_principal_id="e268f613", gateway_id="/g")
    done = machine.run(render_linux_onboarding(one), AZCMAGENT_SERVICE_PRINCIPAL_SECRET="")
    assert done.returncode == 0, done.stderr
    assert "not all of its services run" in done.stdout
    assert machine.calls("curl") == []
    connect = machine.calls("azcmagent")[1]
    assert connect[:3] == ["connect", "--resource-group", PLAIN.resource_group]
    assert not {"--gateway-id", "--service-principal-id"} & set(connect)  # nobody has to sign in for that


def test_wget_says_why_a_download_failed(machine: Machine) -> None:
    (machine.folder / "bin/curl").unlink()
    machine.program("wget", f"{NOTE}case $* in *--quiet*) ;; *) echo 'no route' >&2 ;; esac\nexit 4\n")
    tools = machine.folder / "tools"
    tools.mkdir()
    for name in ("cat", "mktemp", "rm", "grep", "tr", "cut", "sed", "iconv", "sh", "env"):
        (tools / name).symlink_to(str(shutil.which(name)))
    text = render_linux_onboarding(PLAIN).replace("PATH=$PATH:/usr/bin:/opt/azcmagent/bin", ":")
    done = machine.run(text, PATH=f"{machine.folder / 'bin'}:{tools}")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("no route")


def test_a_download_that_fails_is_reported_in_correct_json_and_ends_it(machine: Machine) -> None:
    machine.program("curl", f"{NOTE}{DOWNLOAD}printf 'no \"route\" \\\\ to\\thost\\377\\n' >&2\nexit 7\n")
    done = machine.run(render_linux_onboarding(PLAIN))
    assert done.returncode == 1
    assert machine.report["messageType"] == "DownloadScriptFailed"
    assert 'no "route" \\ to host' in machine.report["message"]
    expected = {"subscriptionId": PLAIN.subscription_id, "resourceGroup": "servers", "operation": "onboarding"}
    assert expected.items() <= machine.report.items()
    assert machine.report["correlationId"]
    assert machine.calls("azcmagent") == [["show", "-j"]]


def test_an_installer_that_fails_is_reported_and_nothing_is_connected(machine: Machine) -> None:
    (machine.folder / "installer").write_text('printf "no \\"space\\"" >"$2"; exit 158\n')
    done = machine.run(render_linux_onboarding(PLAIN))
    assert done.returncode == 1
    assert machine.report["messageType"] == "InstallFailed"
    assert machine.report["message"] == 'code 158: no "space"'
    assert machine.calls("azcmagent") == [["show", "-j"]]


def test_a_connect_that_fails_is_reported(machine: Machine) -> None:
    machine.program("azcmagent", f"{NOTE}exit 42\n")
    done = machine.run(render_linux_onboarding(PLAIN))
    assert done.returncode == 1
    assert machine.report["messageType"] == "ConnectFailed"
    assert "42" in machine.report["message"]


def test_secrets_are_no_arguments_and_no_part_of_the_script(machine: Machine) -> None:
    one = replace(PLAIN, service_principal_id="e268f613-7989-42ec-a232-57a4863e40a7")
    machine.program("azcmagent", f'{NOTE}printf "%s" "$AZCMAGENT_SERVICE_PRINCIPAL_SECRET" >"$NOTES.secret"\n')
    done = machine.run(render_linux_onboarding(one), ARCGATE_PROXY="http://user:hunter2@squid:3128")
    assert done.returncode == 0, done.stderr
    assert (machine.folder / "notes.secret").read_text() == "canary"
    assert "canary" not in machine.notes.read_text() + done.stdout + done.stderr
    assert "hunter2" not in machine.notes.read_text() + done.stdout + done.stderr
    assert "proxy=http://user:hunter2@squid:3128" in (machine.folder / "notes.proxy").read_text()


def test_the_secret_comes_from_its_file(machine: Machine) -> None:
    (machine.folder / "secret").write_text("of the file\n")
    one = replace(PLAIN, service_principal_id="e268f613", secret_file=str(machine.folder / "secret"))
    machine.program("azcmagent", f'{NOTE}printf "%s" "$AZCMAGENT_SERVICE_PRINCIPAL_SECRET" >"$NOTES.secret"\n')
    assert machine.run(render_linux_onboarding(one), AZCMAGENT_SERVICE_PRINCIPAL_SECRET="").returncode == 0
    assert (machine.folder / "notes.secret").read_text() == "of the file"


def test_without_a_secret_it_ends_before_it_installs_anything(machine: Machine) -> None:
    one = replace(PLAIN, service_principal_id="e268f613", secret_file="/nonexistent")
    done = machine.run(render_linux_onboarding(one), AZCMAGENT_SERVICE_PRINCIPAL_SECRET="")
    assert done.returncode == 1
    assert "/nonexistent" in done.stderr
    assert machine.calls("curl") == []


def test_the_first_download_is_verified_with_the_clouds_own_authority(machine: Machine) -> None:
    machine.run(render_linux_onboarding(PLAIN))
    assert "--cacert" in machine.calls("curl")[0]
    machine.run(render_linux_onboarding(replace(PLAIN, authorities_pem="")))
    assert "--cacert" not in machine.calls("curl")[0]


def test_somebody_without_root_is_told_and_nothing_is_done(machine: Machine) -> None:
    machine.program("id", "#!/bin/sh\necho 1000\n")
    done = machine.run(render_linux_onboarding(PLAIN))
    assert done.returncode == 1
    assert "root" in done.stderr
    assert not machine.notes.exists()


def test_a_script_that_was_cut_off_does_nothing(machine: Machine) -> None:
    text = render_linux_onboarding(PLAIN)
    for end in range(0, len(text) - len('main "$@"\n'), 997):
        machine.run(text[:end])
        assert not machine.notes.exists()


def test_tags_that_the_command_cannot_say_are_refused() -> None:
    with pytest.raises(ValueError, match="quotes"):
        render_linux_onboarding(replace(PLAIN, tags={"a": "it's"}))


def test_authorities_that_are_no_certificates_are_refused() -> None:
    for render in (render_linux_onboarding, render_windows_onboarding):
        with pytest.raises(ValueError, match="PEM"):
            render(replace(PLAIN, authorities_pem=f"{CA}\nEND_OF_AUTHORITIES\ntouch pwned\n"))


def parsed(script: str) -> Node:
    return Parser(Language(tree_sitter_powershell.language())).parse(script.encode()).root_node


def literals(node: Node) -> list[str]:
    """The texts of all literals in single quotes, as PowerShell reads them."""
    if node.type == "verbatim_string_characters":
        text = (node.text or b"").decode()
        return [text]
    return [one for child in node.children for one in literals(child)]


def test_the_powershell_script_is_powershell() -> None:
    for one in (PLAIN, replace(PLAIN, authorities_pem="", gateway_id="", tags={})):
        assert not parsed(render_windows_onboarding(one)).has_error


@settings(max_examples=50, deadline=None)
@given(one=onboardings)
def test_hostile_values_stay_literals_of_powershell(one: Onboarding) -> None:
    tree = parsed(render_windows_onboarding(one))
    found = literals(tree)
    for value in (one.resource_group, one.secret_file, one.proxy, tag_argument(one.tags)):
        assert powershell_literal(value) in found


@given(texts)
def test_a_powershell_literal_ends_where_it_should(text: str) -> None:
    literal = powershell_literal(text)
    quotes = "'\u2018\u2019\u201a\u201b"
    inner, place, read = literal[1:-1], 0, ""
    while place < len(inner):
        if inner[place] in quotes:
            assert inner[place + 1] in quotes
            place += 1
        read += inner[place]
        place += 1
    assert read == text


@pytest.mark.parametrize("quote", ["'", "\u2018", "\u2019", "\u201a", "\u201b"])
def test_every_quote_that_ends_a_powershell_literal_is_doubled(quote: str) -> None:
    # about_Quoting_Rules: typographic single quotes end such a literal, too.
    assert powershell_literal(f"a{quote}b") == f"'a{quote}{quote}b'"
