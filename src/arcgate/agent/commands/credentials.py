"""The flags by which `connect` and `disconnect` sign in."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ParamSpec, TypeVar

import click

from arcgate.agent.azure_cli import find_azure_cli
from arcgate.agent.client_certificate import load_client_certificate
from arcgate.agent.commands.invocation import Invocation
from arcgate.agent.errors import AzcmError
from arcgate.agent.login import Credentials

SECRET_VARIABLE = "AZCMAGENT_SERVICE_PRINCIPAL_SECRET"  # noqa: S105 - a variable's name
LARGEST_SECRET = 4096
"""Bytes of a secret's file."""

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def sign_in_flags(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Add the flags."""
    for option in (
        click.option("--user-tenant-id", default="", help="Tenant that you sign in to, when it isn't --tenant-id."),
        click.option("--use-device-code", is_flag=True, help="Sign in with a code in a browser elsewhere (default)."),
        click.option("--use-azcli", is_flag=True, help="Sign in by the session of the Azure CLI here ('az login')."),
        click.option("--access-token", default="", help="Access token for the resource manager."),
        click.option("--service-principal-secret-file", default="", metavar="FILE", help="File with the secret."),
        click.option(
            "--service-principal-cert",
            default="",
            metavar="FILE",
            help="File with its certificate and private key, PEM or PFX without a password, in place of a secret.",
        ),
        click.option(
            "-p",
            "--service-principal-secret",
            default="",
            help=f"Secret of the service principal; better in {SECRET_VARIABLE}, a file or --config.",
        ),
        click.option("-i", "--service-principal-id", default="", help="Client id of a service principal."),
        click.option("-t", "--tenant-id", default="", help="Tenant of the subscription."),
    ):
        command = option(command)
    return command


def read_credentials(
    own: Invocation,
    *,
    tenant_id: str,
    service_principal_id: str,
    service_principal_secret: str,
    service_principal_secret_file: str,
    service_principal_cert: str,
    access_token: str,
    use_device_code: bool,
    use_azcli: bool,
    user_tenant_id: str,
) -> Credentials:
    """Return the credentials of the flags; raises AzcmError 16, 19, 23, 27 or 41."""
    access_token = own.hidden.get("--access-token", access_token)
    chosen = [bool(access_token), bool(service_principal_id), use_device_code, use_azcli]
    if sum(chosen) > 1:
        raise AzcmError(
            27,
            "More than one way to sign in was given.",
            remedy="Choose one of --access-token, --service-principal-id, --use-device-code and --use-azcli.",
        )
    secret = own.hidden.get("--service-principal-secret", service_principal_secret)
    if service_principal_secret_file:
        secret = read_secret(Path(service_principal_secret_file))
    if service_principal_cert and secret:
        raise AzcmError(27, "A secret and a certificate were given.", remedy="Leave one of them out.")
    certificate = load_client_certificate(Path(service_principal_cert)) if service_principal_cert else None
    secret = secret or (own.environment.get(SECRET_VARIABLE, "") if service_principal_id else "")
    if service_principal_id and not secret and certificate is None:
        raise AzcmError(
            16,
            "The service principal's secret is missing.",
            remedy=f"Put it into {SECRET_VARIABLE}, --service-principal-secret-file or the file of --config.",
        )
    if (secret or certificate) and not service_principal_id:
        raise AzcmError(
            16, "--service-principal-id is missing.", remedy="A secret or certificate goes with the client id."
        )
    if certificate is not None:
        secret = ""
    for flag, value in (
        ("--tenant-id", tenant_id),
        ("--user-tenant-id", user_tenant_id),
        ("--service-principal-id", service_principal_id),
        ("--service-principal-secret", secret),
    ):
        # What a shell hands over needs not be UTF-8.
        if not value.isprintable():
            raise AzcmError(
                23, f"The value of {flag} holds characters that it can't have.", remedy="Give it as text in UTF-8."
            )
    azure_cli = find_azure_cli(_without_secrets(own.environment)) if use_azcli else None
    return Credentials(user_tenant_id or tenant_id, access_token, service_principal_id, secret, certificate, azure_cli)


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name != SECRET_VARIABLE}


def read_secret(path: Path) -> str:
    """Return the one text that a file holds; raises AzcmError 19 or 23."""
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_SECRET + 1).decode().strip()
    except OSError as error:
        raise AzcmError(19, f"The file {path} can't be read.", cause=error.strerror or "") from None
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > LARGEST_SECRET:
        raise AzcmError(23, f"The file {path} holds no secret.", remedy="Put the secret alone into it.")
    return text
