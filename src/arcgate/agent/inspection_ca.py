"""The file that `inspection.ca` names: certificates of the enterprise's inspection of TLS."""

from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from arcgate.core.errors import InputError

if TYPE_CHECKING:
    from arcgate.agent.local_settings import LocalSettings

LARGEST_FILE = 1024 * 1024
"""Bytes; a whole system's trust store is smaller."""


def inspection_files(settings: "LocalSettings") -> tuple[Path, ...]:
    """Return the file that the settings name, none when they name none."""
    text = settings.values.get("inspection.ca", "")
    return (Path(text),) if text else ()


def read_authorities(file: str | Path) -> str:
    """Return the certificates of a file in PEM; raises InputError (INSPECTION_CA_UNUSABLE)."""
    path = Path(file)
    try:
        with path.open("rb") as opened:
            text = opened.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            raise ValueError(f"it has more than {LARGEST_FILE} bytes")
        if not x509.load_pem_x509_certificates(text):
            raise ValueError("it holds no certificate")
        return text.decode("ascii")
    except (OSError, ValueError) as error:
        raise InputError(
            "INSPECTION_CA_UNUSABLE",
            f"{path} can't be used as the CA of an inspecting proxy.",
            cause=(error.strerror or "") if isinstance(error, OSError) else str(error).partition("\n")[0],
            remedy="Name a file in PEM, readable by every user, with the certificate of the proxy's CA.",
        ) from None
