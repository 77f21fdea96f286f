"""Signing in against a real login service, and against one that answers oddly."""

import asyncio
import json
import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from sqlalchemy import select

from arcgate.agent import login
from arcgate.agent.azure_cli import find_azure_cli
from arcgate.agent.client_certificate import ClientCertificate
from arcgate.agent.errors import AzcmError
from arcgate.agent.login import Credentials, get_token
from arcgate.control.store.models import Principal
from arcgate.net.tasks import cancel, spawn
from worlds.agent_cloud import AgentCloud, Fault, agent_cloud
from worlds.authority import Authority

pytestmark = pytest.mark.anyio

DEVICE_CODE = "/oauth2/v2.0/devicecode"
TOKEN = "/oauth2/v2.0/token"


@pytest.fixture
async def cloud(tmp_path: Path, authority: Authority) -> AsyncIterator[AgentCloud]:
    async with agent_cloud(tmp_path, authority) as found:
        yield found


async def _token(cloud: AgentCloud, credentials: Credentials) -> str:
    return await get_token(cloud.client(), cloud.cloud, credentials, lambda _text: None)


async def test_a_service_principal_gets_a_token_that_the_resource_manager_takes(cloud: AgentCloud) -> None:
    token = await _token(cloud, await cloud.credentials())
    claims = await cloud.plane.context.tokens.verify(token)
    assert claims.tenant_id == cloud.plane.tenant_id


async def test_a_service_principal_with_a_certificate_needs_no_secret(cloud: AgentCloud) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    begin = cloud.plane.clock() - timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    dated = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + timedelta(days=2))
    certificate = dated.sign(key, hashes.SHA256())
    known = await cloud.credentials()
    async with cloud.plane.context.store.write() as transaction:
        principals = await transaction.session.execute(select(Principal).where(Principal.login == known.client_id))
        principals.scalar_one().certificate = certificate.public_bytes(Encoding.PEM).decode("ascii")
    own = replace(known, client_secret="", certificate=ClientCertificate(certificate, key))
    claims = await cloud.plane.context.tokens.verify(await _token(cloud, own))
    assert claims.tenant_id == cloud.plane.tenant_id
    wrong = ClientCertificate(certificate, rsa.generate_private_key(public_exponent=65537, key_size=2048))
    with pytest.raises(AzcmError) as caught:
        await _token(cloud, replace(own, certificate=wrong))
    assert caught.value.number == 41


async def test_the_session_of_the_azure_cli_is_used_for_the_clouds_resource_manager(
    cloud: AgentCloud, tmp_path: Path
) -> None:
    token = await _token(cloud, await cloud.credentials())
    (tmp_path / "token").write_text(json.dumps({"accessToken": token}))
    program = tmp_path / "az"
    program.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/asked\ncat {tmp_path}/token\n')
    program.chmod(0o755)
    assert (
        await _token(cloud, Credentials(azure_cli=find_azure_cli({"PATH": f"{tmp_path}:{os.environ['PATH']}"})))
        == token
    )
    assert f"--resource {cloud.cloud.resource_manager}/ " in (tmp_path / "asked").read_text()


async def test_a_device_code_that_somebody_approves_gives_that_persons_token(cloud: AgentCloud) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    credentials = Credentials(cloud.plane.tenant_id)
    task = spawn("sign in", get_token(cloud.client(), cloud.cloud, credentials, told.put_nowait))
    try:
        message = await told.get()
        code = re.search(r"enter the code ([A-Z-]+)", message)
        assert code is not None, message
        approve = f"/tenants/{cloud.plane.tenant_id}/providers/Arcgate.Network/deviceCodes/{code[1]}/approve"
        reply = await cloud.plane.arm("POST", approve, version="2026-11-01")
        assert reply.status == 200
        claims = await cloud.plane.context.tokens.verify(await task)
        assert claims.principal_id == cloud.plane.admin.principal.id
    finally:
        await cancel(task)


async def test_a_code_that_nobody_enters_is_azcm0041(cloud: AgentCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "DEVICE_CODE_TIMEOUT", 0.2)
    with pytest.raises(AzcmError) as caught:
        await _token(cloud, Credentials(cloud.plane.tenant_id))
    assert caught.value.number == 41
    assert "in time" in caught.value.sentence


async def test_a_refused_code_is_azcm0041_with_the_reason(cloud: AgentCloud) -> None:
    cloud.door.faults = [
        Fault("POST", DEVICE_CODE, 200, {"device_code": "x", "message": "Enter it.", "interval": 0.01}),
        Fault("POST", TOKEN, 400, {"error": "access_denied", "error_description": "Somebody said no."}),
    ]
    with pytest.raises(AzcmError) as caught:
        await _token(cloud, Credentials(cloud.plane.tenant_id))
    assert (caught.value.number, caught.value.cause) == (41, "Somebody said no.")


@pytest.mark.parametrize("document", [[], {}, {"access_token": 5}, {"access_token": ""}])
async def test_an_answer_without_a_token_is_azcm0041(cloud: AgentCloud, document: object) -> None:
    credentials = await cloud.credentials()
    cloud.door.faults = [Fault("POST", TOKEN, 200, document)]
    with pytest.raises(AzcmError) as caught:
        await _token(cloud, credentials)
    assert caught.value.number == 41


async def test_a_token_that_was_brought_along_is_used_as_it_is(cloud: AgentCloud) -> None:
    assert await _token(cloud, Credentials(access_token="abc.def.ghi")) == "abc.def.ghi"
    assert cloud.door.requests == []


@pytest.mark.parametrize("token", ["with blank", "line\nbreak", "tökén"])
async def test_a_token_with_odd_characters_is_azcm0012_and_not_shown(cloud: AgentCloud, token: str) -> None:
    with pytest.raises(AzcmError) as caught:
        await _token(cloud, Credentials(access_token=token))
    assert caught.value.number == 12
    assert token not in caught.value.one_line()


async def test_a_service_principal_without_a_tenant_is_azcm0016(cloud: AgentCloud) -> None:
    credentials = replace(await cloud.credentials(), tenant_id="")
    with pytest.raises(AzcmError) as caught:
        await _token(cloud, credentials)
    assert caught.value.number == 16
