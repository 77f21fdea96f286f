"""Issues and verifies tokens: RS256 JWTs, signed with keys of the database.

Verification takes nothing from the token but its kid, and that only as a name in our own list: no other
algorithm, no key from a URL.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey
from sqlalchemy import or_, select, update

from arcgate.control.clock import Clock
from arcgate.control.store.database import Store
from arcgate.control.store.models import KeyRow, Principal
from arcgate.control.store.sealing import Sealer
from arcgate.core.configuration import Configuration
from arcgate.core.errors import InputError, StateError

PURPOSE = "token-signing"
ALGORITHM = "RS256"
KEY_DAYS = 90
"""Days that a key signs before the next one takes over; it verifies as long as its last tokens live."""
RELOAD_SECONDS = 300
"""After this time the keys are read anew, so that a rotation by another node is noticed."""
NOT_BEFORE_SKEW = 300
"""Seconds that another node's clock may be ahead of ours."""
LONGEST_TOKEN = 8192
"""Characters of a token that we look at."""

FOREIGN_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")
"""Audiences that unconfigured SDK clients ask for."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified access token says."""

    tenant_id: str
    principal_id: str
    audience: str
    client_id: str


class Tokens:
    """Signs and verifies with the keys of the store; keys are read once and looked up again when unknown."""

    def __init__(self, configuration: Configuration, store: Store, sealer: Sealer, clock: Clock) -> None:
        self._configuration = configuration
        self._store = store
        self._sealer = sealer
        self._clock = clock
        self._keys: dict[str, tuple[RSAKey, datetime | None]] = {}
        self._loaded_at: datetime | None = None

    def issuer(self, base: str, tenant_id: str) -> str:
        """Return the issuer's name; clients read the tenant from its fourth part."""
        return f"{base}/{tenant_id}/v2.0"

    def audiences(self) -> frozenset[str]:
        """Return what an access token for us may be for, with and without a slash at the end."""
        bare = [self._configuration.url_of(name) for name in self._configuration.control_names]
        return frozenset(f"{url}{end}" for url in (*bare, *FOREIGN_AUDIENCES) for end in ("", "/"))

    async def access_token(self, base: str, principal: Principal, audience: str, client_id: str) -> str:
        """Return an access token of the principal for the audience."""
        who = (
            {"upn": principal.login, "unique_name": principal.login, "idtyp": "user", "scp": "user_impersonation"}
            if principal.kind == "User"
            else {"idtyp": "app"}
        )
        claims = {
            **self._claims(base, principal, audience),
            "appid": client_id,
            "azp": client_id,
            "ver": "2.0",
            "name": principal.display_name,
            "jti": str(uuid.uuid4()),
            **who,
        }
        return await self._sign(claims)

    async def id_token(self, base: str, principal: Principal, client_id: str) -> str:
        """Return the ID token that tells the client who signed in."""
        claims = {
            **self._claims(base, principal, client_id),
            "preferred_username": principal.login,
            "name": principal.display_name,
            "ver": "2.0",
        }
        return await self._sign(claims)

    async def verify(self, token: str) -> Claims:
        """Return the claims of an access token for us; raises InputError (TOKEN_INVALID)."""
        if len(token) > LONGEST_TOKEN or not _TOKEN.match(token):
            raise _invalid("it is not a signed token")
        try:
            header = jws.extract_compact(token.encode("ascii")).headers()
            if header.get("alg") != ALGORITHM:
                raise _invalid("its algorithm is not RS256")
            key = await self._key(header.get("kid"))
            claims = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            raise _invalid("its signature is not ours") from None
        return self._checked(claims)

    async def public_keys(self) -> dict[str, Any]:
        """Return the JWKS document of our signing keys."""
        await self._refresh()
        keys = [key.as_dict(private=False) for key, end in self._keys.values() if self._verifies(end)]
        return {"keys": [{**key, "use": "sig", "alg": ALGORITHM} for key in keys]}

    async def prepare(self) -> None:
        """Make sure that there is a key to sign with."""
        await self._signing_key()

    async def rotate(self) -> str:
        """Make a new signing key, and return its id; older ones sign no more, and verify what they have signed."""
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        now = self._clock()
        row = self._row(private, now)
        async with self._store.write() as transaction:
            older = update(KeyRow).where(
                KeyRow.purpose == PURPOSE, or_(KeyRow.not_after.is_(None), KeyRow.not_after > now)
            )
            await transaction.session.execute(older.values(not_after=now))
            transaction.session.add(row)
        await self._load()
        return row.id

    def _row(self, private: rsa.RSAPrivateKey, now: datetime) -> KeyRow:
        key_id = uuid.uuid4().hex
        secret = private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return KeyRow(
            id=key_id,
            purpose=PURPOSE,
            private_sealed=self._sealer.seal(secret, f"key:{key_id}"),
            public=public.decode("ascii"),
            certificate="",
            created_at=now,
            not_after=now + timedelta(days=KEY_DAYS),
        )

    def _claims(self, base: str, principal: Principal, audience: str) -> dict[str, Any]:
        now = int(self._clock().timestamp())
        return {
            "iss": self.issuer(base, principal.tenant_id),
            "aud": audience,
            "tid": principal.tenant_id,
            "oid": principal.id,
            "sub": principal.id,
            "iat": now,
            "nbf": now,
            "exp": now + int(self._configuration.control.access_token_lifetime),
        }

    def _checked(self, claims: Mapping[str, Any]) -> Claims:
        now = self._clock().timestamp()
        texts = {name: claims.get(name) for name in ("iss", "aud", "tid", "oid", "appid")}
        times = {name: claims.get(name) for name in ("exp", "nbf")}
        if not all(isinstance(value, str) for value in texts.values()):
            raise _invalid("a claim is missing")
        if not all(isinstance(value, int) and not isinstance(value, bool) for value in times.values()):
            raise _invalid("a time is missing")
        if now >= claims["exp"]:
            raise _invalid("it has expired")
        if claims["nbf"] > now + NOT_BEFORE_SKEW:
            raise _invalid("it is not valid yet")
        if claims["aud"] not in self.audiences():
            raise _invalid("it is for another audience")
        if claims["iss"] not in self._issuers(claims["tid"]):
            raise _invalid("it is of another issuer")
        return Claims(claims["tid"], claims["oid"], claims["aud"], claims["appid"])

    def _issuers(self, tenant_id: str) -> set[str]:
        names = self._configuration.control_names
        return {self.issuer(self._configuration.url_of(name), tenant_id) for name in names}

    async def _sign(self, claims: dict[str, Any]) -> str:
        key_id, key = await self._signing_key()
        return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": key_id}, claims, key, algorithms=[ALGORITHM])

    async def _signing_key(self) -> tuple[str, RSAKey]:
        await self._refresh()
        found = self._newest()
        if found is None:
            await self._load()
            found = self._newest()
        if found is None:
            await self.rotate()
            found = self._newest()
        if found is None:
            raise StateError("KEYS_MISSING", "There is no key to sign tokens with.")
        return found

    def _newest(self) -> tuple[str, RSAKey] | None:
        """Return the newest key that may still sign; keys stand in order of their age."""
        now = self._clock()
        good = [(key_id, key) for key_id, (key, end) in self._keys.items() if end is None or now < end]
        return good[-1] if good else None

    async def _key(self, key_id: Any) -> RSAKey:
        if key_id not in self._keys:
            await self._load()
        if not isinstance(key_id, str) or key_id not in self._keys:
            raise _invalid("its key is not ours")
        key, end = self._keys[key_id]
        if not self._verifies(end):
            raise _invalid("its key was replaced long ago")
        return key

    def _verifies(self, end: datetime | None) -> bool:
        """Say whether tokens may be valid that a key has signed until its end."""
        life = timedelta(seconds=self._configuration.control.access_token_lifetime + RELOAD_SECONDS)
        return end is None or self._clock() < end + life

    async def _refresh(self) -> None:
        now = self._clock()
        if self._loaded_at is None or not timedelta(0) <= now - self._loaded_at < timedelta(seconds=RELOAD_SECONDS):
            await self._load()

    async def _load(self) -> None:
        async with self._store.read() as session:
            statement = select(KeyRow).where(KeyRow.purpose == PURPOSE).order_by(KeyRow.created_at, KeyRow.id)
            rows = (await session.execute(statement)).scalars().all()
        known = {key_id: key for key_id, (key, _) in self._keys.items()}
        self._keys = {
            row.id: (known.get(row.id) or self._opened(row), row.not_after)
            for row in rows
            if self._verifies(row.not_after)
        }
        self._loaded_at = self._clock()

    def _opened(self, row: KeyRow) -> RSAKey:
        pem = self._sealer.open(row.private_sealed, f"key:{row.id}")
        return RSAKey.import_key(pem, {"kid": row.id})


def _invalid(cause: str) -> InputError:
    return InputError("TOKEN_INVALID", "The access token is invalid.", cause=cause, remedy="Sign in again.")
