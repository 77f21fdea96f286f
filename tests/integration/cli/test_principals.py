"""`arcgate` and a control plane, each a process: identities are made, shown and taken back by the API."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from worlds.azure_clients import make_certificate
from worlds.cloud_process import CloudProcess, cloud_process

ARCGATE = [sys.executable, "-m", "arcgate.cli"]
DEADLINE = 40


class Operator:
    """Somebody who is logged in with the command."""

    def __init__(self, cloud: CloudProcess, folder: Path) -> None:
        self.cloud = cloud
        self.environment = {"PATH": os.environ["PATH"], "ARCGATE_CONFIG_DIR": str(folder)}

    def log_in(self) -> None:
        """Log in with a device code, which is confirmed on the page."""
        command = [*ARCGATE, "login", "--endpoint", self.cloud.base, "--ca", str(self.cloud.ca)]
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=self.environment)
        assert process.stderr is not None
        for line in process.stderr:
            if code := re.search(r"\b([A-Z]{3}-[A-Z]{3}-[A-Z]{3})\b", line):
                self.cloud.approve(code[1])
                break
        _, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, errors

    def run(self, *words: str) -> Any:
        """Return what a command that must succeed prints as JSON."""
        command = [*ARCGATE, *words]
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    identity = {"issuer": "https://issuer.example", "audience": "api://arcgate"}
    with cloud_process(tmp_path_factory.mktemp("cloud"), identity=identity) as cloud:
        made = Operator(cloud, tmp_path_factory.mktemp("operator"))
        made.log_in()
        yield made


def test_external_principals_are_registered_and_removed(operator: Operator) -> None:
    named = ("--subject", "operators", "--group", "--name", "Operators", "--role", "Reader")
    made = operator.run("external-principal", "create", *named, "-o", "json")
    assert (made["kind"], made["subject"]) == ("Group", "operators")
    assert made["roles"] == [{"role": "Reader", "scope": operator.cloud.subscription}]
    assert operator.run("external-principal", "list", "-o", "json") == [made]
    operator.run("external-principal", "delete", "--id", made["id"], "--yes")
    assert operator.run("external-principal", "list", "-o", "json") == []


def test_a_service_principal_is_made_with_a_certificate_and_without_a_secret(
    operator: Operator, tmp_path: Path
) -> None:
    file, _ = make_certificate(tmp_path)
    named = ("--name", "automation", "--role", "Reader", "--certificate", str(file))
    made = operator.run("service-principal", "create", *named, "-o", "json")
    assert "clientSecret" not in made
    [listed] = operator.run("service-principal", "list", "-o", "json")
    assert listed["certificateThumbprint"] == made["certificateThumbprint"]
