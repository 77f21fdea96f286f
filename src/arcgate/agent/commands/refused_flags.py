"""Flags of the original's `connect` that nothing here can act on: refused, with what to do instead."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import click

from arcgate.agent.errors import AzcmError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def refused_flags(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Add the flags."""
    for option in (
        click.option(
            "--automanage-profile",
            metavar="ID",
            expose_value=False,
            callback=_refuse(3, "Automanage profiles don't exist here.", "Configure the machine by a tool of yours."),
            help="Refused: there are no Automanage profiles.",
        ),
        click.option(
            "--enable-automatic-upgrade",
            is_flag=True,
            expose_value=False,
            callback=_refuse(
                3,
                "The agent does not upgrade itself.",
                "Connect without the flag, and have a timer run 'azcmagent upgrade' as root, for one "
                "'17 3 * * * root azcmagent upgrade' in /etc/cron.d/azcmagent-upgrade.",
            ),
            help="Refused: have a timer run 'azcmagent upgrade'.",
        ),
        click.option(
            "--service-principal-cert-thumbprint",
            metavar="THUMBPRINT",
            expose_value=False,
            callback=_refuse(
                3,
                "Certificates of Windows' certificate store can't be used.",
                "Give certificate and key in a file, PEM or PFX: --service-principal-cert FILE.",
            ),
            help="Refused: give the certificate in a file, by --service-principal-cert.",
        ),
        click.option(
            "--identity-key-store",
            type=click.Choice(["default", "tpm"], case_sensitive=False),
            expose_value=False,
            callback=_refuse_tpm,
            help="Where the machine's key is kept: a file (default); tpm is refused.",
        ),
    ):
        command = option(command)
    return command


def _refuse(number: int, sentence: str, remedy: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def refuse(_context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value:
            raise AzcmError(number, sentence, cause=f"{parameter.opts[-1]} was given", remedy=remedy)

    return refuse


def _refuse_tpm(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value == "tpm":
        raise AzcmError(
            28,
            "The machine's key can't be kept in a TPM.",
            cause="TPMs are not used",
            remedy="Leave --identity-key-store out: the key is a file that root alone can read.",
        )
