"""The SDKs that programs use (azure-mgmt-hybridcompute, azure-mgmt-resource, azure-identity) work unmodified."""

import os
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from worlds.azure_clients import ENVIRONMENT, run_script, script_environment
from worlds.cloud_process import CloudProcess

SCRIPT = Path(__file__).parent / "scripts" / "sdk.py"
STORIES = (
    *("gateways", "bypass", "settings", "machines", "machine_extensions"),
    *("operations", "resources", "roles", "secrets"),
)


@pytest.fixture(scope="module")
def owner(cloud: CloudProcess) -> dict[str, Any]:
    return cloud.principal("Owner")


def _environment(owner: dict[str, Any], group: str, **more: str) -> dict[str, str]:
    secret = {"ARCGATE_CLIENT_SECRET": owner["clientSecret"]} if "clientSecret" in owner else {}
    return {
        "ARCGATE_CLIENT_ID": owner["clientId"],
        "ARCGATE_PRINCIPAL": owner["id"],
        "ARCGATE_GROUP": group,
        **secret,
        **more,
    }


@pytest.mark.parametrize("story", STORIES)
def test_the_sdk_tells_the_story_of(story: str, cloud: CloudProcess, owner: dict[str, Any]) -> None:
    done = run_script(cloud, SCRIPT, story, **_environment(owner, cloud.group()))
    assert done.status == 0, done.errors


def test_the_sdk_follows_pages(cloud: CloudProcess, owner: dict[str, Any]) -> None:
    group = cloud.group()
    for number in range(203):
        body = {"location": "eastus", "properties": {"vmId": str(uuid.uuid4())}}
        place = f"resourceGroups/{group}/providers/Microsoft.HybridCompute/machines/server-{number}"
        assert cloud.arm("PUT", place, body).status == 200
    done = run_script(cloud, SCRIPT, "pages", **_environment(owner, group, ARCGATE_COUNT="203"))
    assert done.status == 0, done.errors


def test_certificates_sign_in(cloud: CloudProcess, client_certificate: tuple[Path, str]) -> None:
    file, certificate = client_certificate
    made = cloud.principal("Reader", certificate=certificate)
    done = run_script(cloud, SCRIPT, "certificates", **_environment(made, cloud.group(), ARCGATE_CERTIFICATE=str(file)))
    assert done.status == 0, done.errors


def test_the_variables_that_default_credentials_read_are_enough(cloud: CloudProcess, owner: dict[str, Any]) -> None:
    more = {
        "AZURE_AUTHORITY_HOST": cloud.base,
        "AZURE_TENANT_ID": cloud.tenant,
        "AZURE_CLIENT_ID": owner["clientId"],
        "AZURE_CLIENT_SECRET": owner["clientSecret"],
    }
    done = run_script(cloud, SCRIPT, "environment", **_environment(owner, cloud.group(), **more))
    assert done.status == 0, done.errors


@pytest.mark.parametrize("style", ["", "adfs"])
def test_a_device_code_signs_in(cloud: CloudProcess, owner: dict[str, Any], style: str) -> None:
    environment = script_environment(cloud, **_environment(owner, cloud.group()), ARCGATE_ADFS=style)
    command = [str(ENVIRONMENT / "bin" / "python"), str(SCRIPT), "device_code"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "PATH": os.environ["PATH"]},
    )
    assert process.stdout is not None
    code = process.stdout.readline().strip()
    try:
        cloud.approve(code)
        _, errors = process.communicate(timeout=40)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, errors
