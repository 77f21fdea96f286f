"""Secrets of principals and codes: making, hashing and comparing them.

Passwords are hashed with argon2id at its full cost. Client secrets are 256 random bits, which no guessing
reaches, so a cheap argon2id is enough and a fleet can sign in at once. Codes and refresh tokens are random as
well and are only looked up, so SHA-256 does.
"""

import asyncio
import hashlib
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

_FOR_PASSWORDS = PasswordHasher()
_FOR_RANDOM_SECRETS = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1)

_workers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="argon2")  # each password check takes 64 MiB


def new_secret() -> str:
    """Return 256 random bits in URL-safe characters."""
    return secrets.token_urlsafe(32)


def new_password() -> str:
    """Return a random password of 120 bits that can be read aloud in groups."""
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(6)) for _ in range(4))


def hash_password(password: str) -> str:
    """Return the argon2id hash of a password that a person may have chosen."""
    return _FOR_PASSWORDS.hash(password)


def hash_secret(secret: str) -> str:
    """Return the argon2id hash of a secret that `new_secret` made."""
    return _FOR_RANDOM_SECRETS.hash(secret)


def digest(token: str) -> str:
    """Return the SHA-256 under which a random token is kept."""
    return hashlib.sha256(token.encode()).hexdigest()


async def is_password(hashed: str | None, password: str) -> bool:
    """Say whether the password fits; without a hash the same time passes."""
    return await _verify(hashed, password, _decoy_password())


async def is_secret(hashed: str | None, secret: str) -> bool:
    """Say whether the client secret fits; without a hash the same time passes."""
    return await _verify(hashed, secret, _decoy_secret())


async def _verify(hashed: str | None, given: str, decoy: str) -> bool:
    fits = await asyncio.get_running_loop().run_in_executor(_workers, _verify_now, hashed or decoy, given)
    return fits and bool(hashed)


def _verify_now(hashed: str, given: str) -> bool:
    try:
        return _FOR_PASSWORDS.verify(hashed, given)  # the cost stands in the hash
    except (VerificationError, InvalidHashError):
        return False


@cache
def _decoy_password() -> str:
    return hash_password(secrets.token_urlsafe(16))


@cache
def _decoy_secret() -> str:
    return hash_secret(secrets.token_urlsafe(16))
