"""The list of the agent's packages and who signed it: the control plane's own key, or publishers away from it.

Without `control.package_keys` the control plane signs what it lists. With them, it hands out the list that
`arcgate packages sign` left in the folder of packages, and its own signature only adds to it: machines that know no
other key yet go on to be upgraded.
"""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from sqlalchemy.exc import IntegrityError

from arcgate.control.context import ControlContext
from arcgate.control.packages.shelf import Shelf
from arcgate.control.store.models import KeyRow
from arcgate.core.errors import InputError, StateError
from arcgate.core.package_offers import index_of
from arcgate.wire.catalogue_bundle import read_private_key, read_public_key
from arcgate.wire.extension_signature import key_text
from arcgate.wire.package_index import sign_index

PURPOSE = "package-signing"
INDEX, SIGNATURES = "index.json", "index.json.sig"
LARGEST_INDEX = 1024 * 1024
"""Bytes of a list, and of its signatures."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SignedIndex:
    """The list's bytes, and the lines of `index.json.sig`."""

    index: bytes
    signatures: str


class PackageIndex:
    """Makes the list, or reads the signed one, and says whose signature counts."""

    def __init__(self, context: ControlContext, shelf: Shelf, folder: Path) -> None:
        self._context = context
        self._shelf = shelf
        self._folder = folder
        self._key: Ed25519PrivateKey | None = None

    async def keys(self) -> list[str]:
        """Return the public keys (base64) that machines must trust; raises StateError (PACKAGE_KEY_UNUSABLE)."""
        named = self._context.configuration.control.package_keys
        if not named:
            return [key_text((await self._own_key()).public_key())]
        try:
            return [key_text(read_public_key(file.read_bytes())) for file in named]
        except (OSError, InputError) as error:
            cause = error.cause if isinstance(error, InputError) else str(error)
            remedy = "Look at the files of control.package_keys."
            sentence = "A key for packages can't be read."
            raise StateError("PACKAGE_KEY_UNUSABLE", sentence, cause=cause, remedy=remedy) from None

    async def signed(self) -> SignedIndex:
        """Return the list with its signatures; raises StateError."""
        if self._context.configuration.control.package_keys:
            kept = await asyncio.to_thread(self._read)
        else:
            kept = SignedIndex(index_of([*await self._shelf.offers(), await self._shelf.own_offer()]), "")
        return SignedIndex(kept.index, kept.signatures + sign_index(kept.index, [await self._own_key()]))

    def _read(self) -> SignedIndex:
        try:
            index, signatures = (_bounded(self._folder / name) for name in (INDEX, SIGNATURES))
            return SignedIndex(index, signatures.decode("ascii").rstrip("\n") + "\n")
        except (OSError, ValueError) as error:
            # An empty list and no publisher's signature: machines refuse it and say so.
            _log.error("there is no signed list of packages; run 'arcgate packages sign'", cause=str(error))
            return SignedIndex(index_of([]), "")

    async def _own_key(self) -> Ed25519PrivateKey:
        if self._key is None:
            self._key = await self._find_key() or await self._make_key()
        return self._key

    async def _find_key(self) -> Ed25519PrivateKey | None:
        async with self._context.store.read() as session:
            row = await session.get(KeyRow, PURPOSE)
        return None if row is None else read_private_key(self._context.sealer.open(row.private_sealed, f"key:{row.id}"))

    async def _make_key(self) -> Ed25519PrivateKey:
        try:
            async with self._context.store.write() as transaction:
                transaction.session.add(self._row(Ed25519PrivateKey.generate()))
        except IntegrityError:
            pass  # another node of the control plane was first; its key counts
        made = await self._find_key()
        assert made is not None
        return made

    def _row(self, key: Ed25519PrivateKey) -> KeyRow:
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return KeyRow(
            id=PURPOSE,
            purpose=PURPOSE,
            private_sealed=self._context.sealer.seal(secret, f"key:{PURPOSE}"),
            public=public.decode("ascii"),
            certificate="",
            created_at=self._context.clock(),
            not_after=None,
        )


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(LARGEST_INDEX + 1)
    if len(data) > LARGEST_INDEX:
        raise ValueError(f"{path} has more than {LARGEST_INDEX} bytes")
    return data
