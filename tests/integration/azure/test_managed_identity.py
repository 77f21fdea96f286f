"""The official libraries get tokens of the machine's identity on the machine, and use them through Arc Proxy."""

import base64
import http.client
import json
import ssl
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from worlds.azure_clients import ENVIRONMENT
from worlds.original_folder import GROUP_ID, OriginalMachine, original_machine
from worlds.sandbox_process import sandbox_process

SCRIPT = Path(__file__).with_name("managed_identity_script.py")
READER = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
LIBRARIES = ("azure-identity", "default", "msal")
VERSION = "api-version=2022-12-01"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OriginalMachine]:
    folder = tmp_path_factory.mktemp("sandbox")
    with (
        sandbox_process(folder) as sandbox,
        original_machine(sandbox, tmp_path_factory.mktemp("original")) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def arm(machine: OriginalMachine) -> str:
    """The resource manager by a name that only the gateway can resolve: the way there is Arc Proxy."""
    port = urlsplit(machine.sandbox.ready["arm"]).port
    return f"https://management.sandbox.arcgate.test:{port}"


def _environment(machine: OriginalMachine) -> dict[str, str]:
    base = f"http://localhost:{machine.metadata_port}"
    return {
        "IDENTITY_ENDPOINT": f"{base}/metadata/identity/oauth2/token",
        "IMDS_ENDPOINT": base,
        "HTTPS_PROXY": f"http://127.0.0.1:{machine.proxy_port}",
        "REQUESTS_CA_BUNDLE": machine.sandbox.ready["ca"],
    }


def _run(machine: OriginalMachine, library: str, resource: str, *urls: str) -> dict[str, Any]:
    python = str(ENVIRONMENT / "bin" / "python")
    ended = machine.run(python, str(SCRIPT), library, resource, *urls, **_environment(machine))
    document: dict[str, Any] = ended.json()
    return document


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    return dict(json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))))


def _as_operator(machine: OriginalMachine, method: str, path: str, document: Any) -> int:
    """Call ARM as the sandbox's service principal, which owns everything."""
    ready = machine.sandbox.ready
    form = {
        "grant_type": "client_credentials",
        "client_id": ready["clientId"],
        "client_secret": ready["clientSecret"],
    }
    token_path = f"/{ready['tenantId']}/oauth2/v2.0/token"
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    token = json.loads(_exchange(machine, "POST", token_path, urlencode(form), kind)[1])["access_token"]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return _exchange(machine, method, path, json.dumps(document), headers)[0]


def _assign_reader(machine: OriginalMachine, scope: str) -> int:
    """Make the machine a reader of the scope, and return the status of the answer."""
    place = f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}?api-version=2022-04-01"
    properties = {"roleDefinitionId": READER, "principalId": machine.principal_id}
    return _as_operator(machine, "PUT", place, {"properties": properties})


def _exchange(
    machine: OriginalMachine, method: str, path: str, body: str, headers: dict[str, str]
) -> tuple[int, bytes]:
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trust.load_verify_locations(machine.sandbox.ready["ca"])
    place = urlsplit(machine.sandbox.ready["arm"])
    connection = http.client.HTTPSConnection(str(place.hostname), place.port, context=trust, timeout=20)
    with closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_gets_a_token_of_the_machines_identity(machine: OriginalMachine, library: str, arm: str) -> None:
    found = _run(machine, library, f"{arm}/")
    claims = _claims(found["access_token"])
    assert claims["oid"] == machine.principal_id
    assert claims["tid"] == machine.sandbox.ready["tenantId"]
    assert claims["aud"] == f"{arm}/"
    assert list(machine.files.tokens.iterdir()) == []


def test_roles_decide_what_it_may_do_and_its_calls_go_through_arc_proxy(machine: OriginalMachine, arm: str) -> None:
    ready = machine.sandbox.ready
    subscription = f"/subscriptions/{ready['subscriptionId']}"
    group = f"{subscription}/resourceGroups/{ready['resourceGroup']}"
    urls = (f"{arm}{group}?{VERSION}", f"{arm}{subscription}/resourceGroups/others?{VERSION}")
    before = [one["status"] for one in _run(machine, "azure-identity", f"{arm}/", *urls)["answers"]]
    assert before == [404, 404]  # a subscription in which one has no role is not there
    assert _assign_reader(machine, group) == 201
    after = _run(machine, "azure-identity", f"{arm}/", *urls)["answers"]
    assert [one["status"] for one in after] == [200, 403]
    assert after[0]["document"]["name"] == ready["resourceGroup"]
    assert f"management.sandbox.arcgate.test:{urlsplit(arm).port}" in machine.files.arcproxy_log.read_text()


def test_az_logs_in_as_the_machine(machine: OriginalMachine, arm: str, tmp_path: Path) -> None:
    ready = machine.sandbox.ready
    _assign_reader(machine, f"/subscriptions/{ready['subscriptionId']}")
    settings = {
        "AZURE_CONFIG_DIR": str(tmp_path),
        "AZURE_CORE_COLLECT_TELEMETRY": "no",
        "AZURE_CORE_INSTANCE_DISCOVERY": "false",
    }

    def az(*words: str) -> Any:
        ended = machine.run(str(ENVIRONMENT / "bin" / "az"), *words, **_environment(machine), **settings)
        assert ended.code == 0, ended
        return json.loads(ended.output) if ended.output.strip() else None

    az("cloud", "register", "-n", "Sandbox", "--endpoint-resource-manager", arm)
    az("cloud", "set", "-n", "Sandbox")
    [account] = az("login", "--identity")
    assert (account["id"], account["tenantId"]) == (ready["subscriptionId"], ready["tenantId"])
    assert az("group", "show", "-n", ready["resourceGroup"])["name"] == ready["resourceGroup"]


def test_a_user_assigned_identity_is_refused_in_words(machine: OriginalMachine, arm: str) -> None:
    assert "system-assigned" in _run(machine, "user-assigned", f"{arm}/")["error"]


def _token_url(machine: OriginalMachine, resource: str) -> str:
    place = f"http://localhost:{machine.metadata_port}/metadata/identity/oauth2/token"
    return f"{place}?api-version=2020-06-01&resource={resource}"


def test_a_member_of_the_group_gets_a_token(machine: OriginalMachine, arm: str) -> None:
    script = (
        f"url='{_token_url(machine, f'{arm}/')}'; "
        'file=$(curl -s -D - -o /dev/null -H Metadata:true "$url"'
        " | sed -n 's/^[Ww][Ww][Ww]-[Aa]uthenticate: Basic realm=//p' | tr -d '\\r'); "
        'stat -c "%a %g" "$file" "${file%/*}"; '
        'curl -s -H Metadata:true -H "Authorization: Basic $(cat "$file")" "$url"'
    )
    ended = machine.as_member(script)
    file, folder, answer = ended.output.splitlines()
    assert (file, folder) == (f"640 {GROUP_ID}", f"750 {GROUP_ID}")
    assert _claims(json.loads(answer)["access_token"])["oid"] == machine.principal_id


def test_another_user_of_the_machine_gets_no_token(machine: OriginalMachine, arm: str) -> None:
    asked = machine.as_nobody(f"curl -s -i -H Metadata:true '{_token_url(machine, arm)}'")
    assert asked.output.startswith("HTTP/1.1 401")
    [realm] = [line for line in asked.output.splitlines() if line.startswith("WWW-Authenticate")]
    path = realm.partition("=")[2]
    assert path.startswith("/var/opt/azcmagent/tokens/")
    assert (machine.files.tokens / Path(path).name).exists()
    assert "Permission denied" in machine.as_nobody(f"cat {path}").errors
    assert machine.as_nobody("ls /var/opt/azcmagent/tokens").code != 0


@pytest.mark.parametrize("name", ["tokens/own.key", "certs/own", "state/own", "log/own", "own"])
def test_another_user_can_write_into_no_folder_of_the_agent(machine: OriginalMachine, name: str) -> None:
    place = f"/var/opt/azcmagent/{name}"
    assert "Permission denied" in machine.as_nobody(f"ln -s /etc/passwd {place}").errors
    assert "Permission denied" in machine.as_nobody(f"echo >{place}").errors


@pytest.mark.parametrize("name", ["certs/machine.key"])
def test_another_user_can_not_read_what_proves_the_identity(machine: OriginalMachine, name: str) -> None:
    assert (machine.home / name).exists()
    assert "Permission denied" in machine.as_nobody(f"cat /var/opt/azcmagent/{name}").errors


def test_show_tells_where_programs_get_tokens(machine: OriginalMachine) -> None:
    shown = json.loads(machine.azcmagent("show", "--json").output)
    assert shown["metadataEndpoint"] == f"http://localhost:{machine.metadata_port}"
