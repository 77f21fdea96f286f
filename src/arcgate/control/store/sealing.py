"""Seals secrets inside the database with AES-256-GCM under secrets/master.key.

A copy of the database without the key file gives no private key away. Each seal is bound to its purpose, so
one sealed value can't be put in the place of another.
"""

import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from arcgate.core.errors import StateError

KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"


class Sealer:
    """Seals and opens small values with one key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, plain: bytes, purpose: str) -> bytes:
        """Return the sealed form of `plain`, good only for the same purpose."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Return what was sealed; raises StateError (SEAL_BROKEN) for another key, purpose or content."""
        try:
            if sealed[:1] != _VERSION:
                raise InvalidTag
            nonce, content = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
            return self._cipher.decrypt(nonce, content, purpose.encode())
        except (InvalidTag, ValueError):
            raise StateError(
                "SEAL_BROKEN",
                "A sealed value of the database can't be opened.",
                cause="secrets/master.key is not the key that sealed it, or the database was altered",
                remedy="Restore secrets/master.key from the backup that belongs to this database.",
            ) from None


def load_sealer(state_dir: Path) -> Sealer:
    """Return the sealer of secrets/master.key, which is made at the first start.

    Raises StateError (MASTER_KEY_INVALID) when the file is damaged or others can read it.
    """
    path = state_dir / "secrets" / "master.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        write_private_file(path, secrets.token_bytes(KEY_BYTES).hex() + "\n", replace=False)
    if path.stat().st_mode & 0o077:
        raise _invalid(path, "others can read it", "Run chmod 600 on it.")
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise _invalid(path, f"it must hold {KEY_BYTES} bytes in hexadecimal", "Restore it from a backup.")
    return Sealer(key)


def write_private_file(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a file of mode 0600 in one step; without `replace`, a file that is there already wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _put_in_place(draft, path, replace=replace)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _put_in_place(draft: Path, path: Path, *, replace: bool) -> None:
    if replace:
        draft.replace(path)
        return
    try:
        path.hardlink_to(draft)  # unlike a rename, this fails when somebody was first
    except FileExistsError:
        return


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _invalid(path: Path, cause: str, remedy: str) -> StateError:
    return StateError("MASTER_KEY_INVALID", f"The key file {path} can't be used.", cause=cause, remedy=remedy)
