"""Onboarding at scale: the Ansible role, run here with stand-ins, and the user data of cloud-init."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PROJECT = Path(__file__).parents[3]
PLAYBOOK = PROJECT / "deploy/ansible/onboard.yml"
USER_DATA = PROJECT / "deploy/cloud-init/user-data.yaml"

pytestmark = pytest.mark.timeout(180)


class Machine:
    """This machine for Ansible, with a stand-in of the command and of the onboarding script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known = folder / "known"
        (folder / "bin").mkdir()
        self._program(folder / "bin/azcmagent", f'[ -e "{self.known}" ] && cat "{self.known}"')
        self._program(
            folder / "onboard.sh",
            f'printf "%s %s" "$AZCMAGENT_SERVICE_PRINCIPAL_SECRET" "$ARCGATE_PROXY" >"{folder}/seen"\n'
            f'echo \'{{"resourceId": "/subscriptions/s/machines/m"}}\' >"{self.known}"',
        )

    def _program(self, path: Path, text: str) -> None:
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def fail(self) -> None:
        self._program(self.folder / "onboard.sh", "echo 'Onboarding failed: no route' >&2\nexit 1")

    def play(self, *options: str) -> subprocess.CompletedProcess[str]:
        values = {
            "arc_agent_script": str(self.folder / "onboard.sh"),
            "arc_agent_place": str(self.folder / "placed.sh"),
            "arc_agent_secret": "canary",
            "arc_agent_proxy": "http://user:hunter2@squid:3128",
            "arc_agent_start": "false",
        }
        extra = [word for name, value in values.items() for word in ("--extra-vars", f"{name}={value}")]
        become = (
            "--extra-vars",
            "ansible_become=false",
            "--extra-vars",
            f"ansible_python_interpreter={sys.executable}",
        )
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "-vv", "-i", "localhost,", "-c", "local"]
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "ANSIBLE_HOME": str(self.folder / "ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "LANG": "C.UTF-8",
        }
        return subprocess.run(
            [*command, *become, *extra, *options, str(PLAYBOOK)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=150,
            check=False,
        )


def test_the_role_connects_a_machine_once_and_shows_no_secret(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    first = machine.play()
    assert first.returncode == 0, first.stdout + first.stderr
    assert (tmp_path / "seen").read_text() == "canary http://user:hunter2@squid:3128"
    assert not (tmp_path / "placed.sh").exists()
    (tmp_path / "seen").unlink()
    second = machine.play()
    assert second.returncode == 0, second.stdout + second.stderr
    assert "changed=0" in second.stdout
    assert not (tmp_path / "seen").exists()
    assert "canary" not in first.stdout + first.stderr
    assert "hunter2" not in first.stdout + first.stderr


def test_a_machine_that_cannot_be_connected_says_why_and_keeps_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    looked = machine.play("--check")
    assert looked.returncode == 0, looked.stdout + looked.stderr
    assert not (tmp_path / "seen").exists()
    machine.fail()
    done = machine.play()
    assert done.returncode == 2
    assert "Onboarding failed: no route" in done.stdout
    assert "canary" not in done.stdout + done.stderr
    assert not (tmp_path / "placed.sh").exists()


def test_the_user_data_is_cloud_config_whose_secret_is_for_root_alone() -> None:
    text = USER_DATA.read_text()
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert set(document) == {"write_files", "runcmd"}
    assert {one["permissions"] for one in document["write_files"]} == {"0600", "0700"}
    assert all(one["owner"] == "root:root" for one in document["write_files"])
    [[shell, option, line]] = document["runcmd"]
    assert (shell, option) == ("sh", "-c")
    assert all(one["path"] in line for one in document["write_files"])
