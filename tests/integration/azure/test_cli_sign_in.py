"""`az` as it comes from its makers finds the cloud, logs in every way that it knows and gets tokens."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from worlds.azure_clients import AzureCli, make_certificate
from worlds.cloud_process import CloudProcess


@pytest.fixture
def az(cloud: CloudProcess, tmp_path: Path) -> AzureCli:
    """`az` that knows nothing yet."""
    return AzureCli(cloud, tmp_path / "azure")


def _login(az: AzureCli, client_id: str, *proof: str) -> list[Any]:
    found: list[Any] = az("login", "--service-principal", "-u", client_id, *proof, "-t", az.cloud.tenant)
    return found


def test_the_cloud_is_registered_by_its_description(az: AzureCli) -> None:
    az.use_cloud()
    shown = az("cloud", "show", "-n", "Arcgate")
    assert shown["isActive"]
    assert shown["endpoints"]["resourceManager"] == az.cloud.base
    assert shown["endpoints"]["activeDirectory"] == az.cloud.base
    assert shown["endpoints"]["activeDirectoryResourceId"] == f"{az.cloud.base}/"


def test_a_user_logs_in_with_a_device_code_on_the_page_and_logs_out(az: AzureCli) -> None:
    az.use_cloud()
    done = az.device_login()
    assert done.status == 0, done.errors
    [account] = done.json()
    assert account["user"] == {"name": az.cloud.first["user"], "type": "user"}
    assert account["id"] == az.cloud.first["subscriptionId"]
    assert account["tenantId"] == az.cloud.tenant
    assert az("account", "list") == [account]
    az("account", "set", "-s", "Arcgate")
    assert az("account", "show")["name"] == "Arcgate"
    token = az("account", "get-access-token")
    assert token["tenant"] == az.cloud.tenant
    assert az.cloud.arm("GET", "/tenants", token=token["accessToken"]).status == 200
    az("logout")
    assert "az login" in az.refused("account", "show")


def test_a_token_that_has_run_out_is_refreshed_without_asking(az: AzureCli) -> None:
    az.use_cloud()
    assert az.device_login("--tenant", az.cloud.tenant).status == 0
    first = az("account", "get-access-token")["accessToken"]
    assert az("account", "get-access-token")["accessToken"] == first
    cache = az.folder / "msal_token_cache.json"
    document = json.loads(cache.read_text())
    for entry in document["AccessToken"].values():
        entry["expires_on"] = entry["extended_expires_on"] = "1"
    cache.write_text(json.dumps(document))
    second = az("account", "get-access-token")["accessToken"]
    assert second != first
    assert az.cloud.arm("GET", "/tenants", token=second).status == 200


def test_a_denied_login_ends_with_words(az: AzureCli) -> None:
    az.use_cloud()
    done = az.device_login(answer="deny")
    assert done.status == 1
    assert "AADSTS70018: The sign-in was refused." in done.errors


def test_a_code_can_be_approved_by_the_operators_command(az: AzureCli, tmp_path: Path) -> None:
    az.use_cloud()
    environment = {"PATH": os.environ["PATH"], "ARCGATE_CONFIG_DIR": str(tmp_path / "arcgate")}
    arcgate = [sys.executable, "-m", "arcgate.cli"]
    command = [*arcgate, "login", "--endpoint", az.cloud.base, "--ca", str(az.cloud.ca)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    for line in process.stderr:
        if code := re.search(r"\b([A-Z]{3}-[A-Z]{3}-[A-Z]{3})\b", line):
            az.cloud.approve(code[1])
            break
    _, errors = process.communicate(timeout=40)
    assert process.returncode == 0, errors

    def approve(code: str) -> None:
        done = subprocess.run(
            [*arcgate, "device", "approve", code],
            env=environment,
            capture_output=True,
            text=True,
            timeout=40,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    done = az.log_in_while(approve)
    assert done.status == 0, done.errors
    assert done.json()[0]["user"]["name"] == az.cloud.first["user"]


def test_a_service_principal_logs_in_with_its_secret_and_not_with_another(az: AzureCli) -> None:
    az.use_cloud()
    made = az.cloud.principal("Reader")
    wrong = az.refused("login", "--service-principal", "-u", made["clientId"], "-p", "wrong", "-t", az.cloud.tenant)
    assert "AADSTS7000215" in wrong
    [account] = _login(az, made["clientId"], "-p", made["clientSecret"])
    assert account["user"] == {"name": made["clientId"], "type": "servicePrincipal"}
    assert az("group", "list") is not None
    assert "AuthorizationFailed" in az.refused("group", "create", "-n", "mine", "-l", "eastus")


def test_a_service_principal_logs_in_with_its_certificate(
    az: AzureCli, tmp_path: Path, client_certificate: tuple[Path, str]
) -> None:
    az.use_cloud()
    file, certificate = client_certificate
    made = az.cloud.principal("Reader", certificate=certificate)
    assert "clientSecret" not in made
    stranger, _ = make_certificate(tmp_path, "stranger")
    assert "AADSTS" in az.refused(
        "login", "--service-principal", "-u", made["clientId"], "--certificate", str(stranger), "-t", az.cloud.tenant
    )
    [account] = _login(az, made["clientId"], "--certificate", str(file))
    assert account["user"]["name"] == made["clientId"]
    assert az("group", "list") is not None


def test_the_cloud_can_come_from_a_variable_instead_of_a_registration(az: AzureCli) -> None:
    more = {"ARM_CLOUD_METADATA_URL": f"{az.cloud.base}/metadata/clouds", "SSL_CERT_FILE": str(az.cloud.ca)}
    az("cloud", "set", "-n", "Arcgate", **more)
    assert az.device_login(**more).status == 0
    assert az("account", "show", **more)["environmentName"] == "Arcgate"


def test_the_other_authority_style_needs_no_switch(az: AzureCli) -> None:
    plain = {"AZURE_CORE_INSTANCE_DISCOVERY": "true"}
    az(
        *("cloud", "register", "-n", "Arcgate", "--skip-endpoint-discovery"),
        *("--endpoint-resource-manager", az.cloud.base),
        *("--endpoint-active-directory", f"{az.cloud.base}/adfs"),
        *("--endpoint-active-directory-resource-id", f"{az.cloud.base}/"),
        **plain,
    )
    az("cloud", "set", "-n", "Arcgate", **plain)
    assert az.device_login(**plain).status == 0
    made = az.cloud.principal("Reader")
    secret = ("-p", made["clientSecret"])
    az("login", "--service-principal", "-u", made["clientId"], *secret, "-t", az.cloud.tenant, **plain)
    assert az("group", "list", **plain) is not None


def test_a_tenant_can_be_named_by_its_domain(az: AzureCli) -> None:
    az.use_cloud()
    done = az.device_login("--tenant", "arcgate.test")
    assert done.status == 0, done.errors
    assert done.json()[0]["tenantId"] == az.cloud.tenant
