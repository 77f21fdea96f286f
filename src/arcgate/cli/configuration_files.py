"""Looks into the files that the configuration names: a server with the wrong certificate must not start."""

import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from arcgate.cli.configuration_checks import Finding, PlaceOf
from arcgate.cli.regular_file import RegularFile, Unreadable, read_regular_file
from arcgate.core.configuration import Configuration
from arcgate.core.errors import ConfigurationError

LARGEST_PEM = 16 * 1024 * 1024
"""Bytes of a PEM file; ten thousand authorities fit."""


class _Unusable(Exception):
    def __init__(self, sentence: str, remedy: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.remedy = remedy


def find_unusable_files(configuration: Configuration, place: PlaceOf, now: datetime) -> list[ConfigurationError]:
    """Return what is wrong with the certificate, key, authority and secret files and with the state folder."""
    findings = [*_state_folder(configuration), *_tls(configuration, now), *_gateway(configuration, now)]
    return [
        ConfigurationError(place(path), f"{'.'.join(path)}: {sentence}", remedy=remedy)
        for path, sentence, remedy in findings
    ]


def _state_folder(configuration: Configuration) -> Iterator[Finding]:
    folder = configuration.state_dir
    try:
        mode = folder.stat().st_mode
    except FileNotFoundError:
        return  # it will be made
    except OSError as error:
        yield ("state_dir",), f"{folder} can't be used: {error.strerror}.", "Name a folder of the service's own."
        return
    if not stat.S_ISDIR(mode):
        yield ("state_dir",), f"{folder} is not a folder.", "Name a folder of the service's own."
    elif mode & stat.S_IWOTH:
        yield ("state_dir",), f"everybody on this host may write {folder}.", f"Make it ours alone: chmod 0700 {folder}"


def _tls(configuration: Configuration, now: datetime) -> Iterator[Finding]:
    tls = configuration.tls
    if tls.announced_authorities_file is not None:
        try:
            _read_certificates(tls.announced_authorities_file)
        except _Unusable as error:
            yield ("tls", "announced_authorities_file"), error.sentence, error.remedy
    if configuration.acme.ca_file is not None:
        try:
            _check_authorities(configuration.acme.ca_file, now)
        except _Unusable as error:
            yield ("acme", "ca_file"), error.sentence, error.remedy
    if tls.certificate_file is None or tls.key_file is None:
        return
    try:
        leaf = _read_certificates(tls.certificate_file)[0]
        _check_dates(tls.certificate_file, leaf, now)
        _check_names(tls.certificate_file, leaf, configuration.cloud.domain)
    except _Unusable as error:
        yield ("tls", "certificate_file"), error.sentence, error.remedy
        return
    try:
        key = _read_key(tls.key_file)
        if _public_bytes(key.public_key()) != _public_bytes(leaf.public_key()):
            raise _Unusable(
                f"{tls.key_file} is not the key of the first certificate in {tls.certificate_file}.",
                "Put both from the same order together; the server's own certificate stands first in the chain.",
            )
    except _Unusable as error:
        yield ("tls", "key_file"), error.sentence, error.remedy


def _gateway(configuration: Configuration, now: datetime) -> Iterator[Finding]:
    gateway = configuration.gateway
    if gateway.control_ca_file is not None:
        try:
            _check_authorities(gateway.control_ca_file, now)
        except _Unusable as error:
            yield ("gateway", "control_ca_file"), error.sentence, error.remedy
    if gateway.node_secret_file is not None and gateway.control_url:
        try:
            _read_private(gateway.node_secret_file)
        except _Unusable as error:
            yield ("gateway", "node_secret_file"), error.sentence, error.remedy


def _check_authorities(path: Path, now: datetime) -> None:
    data = _read(path)
    if b"PRIVATE KEY" in data:
        raise _Unusable(f"{path} holds a private key.", "Leave the key with the authority, and certificates only here.")
    authorities = _parse_certificates(path, data)
    for one in authorities:
        if not _is_authority(one):
            raise _Unusable(
                f"{path} holds a certificate that is no authority: {one.subject.rfc4514_string() or 'without a name'}.",
                "Name the certificate of the authority, not the server's.",
            )
    if all(one.not_valid_after_utc < now for one in authorities):
        raise _Unusable(f"Every certificate in {path} has expired.", "Get the authority's new certificate.")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return bool(certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except (x509.ExtensionNotFound, ValueError):
        return False


def _check_dates(path: Path, leaf: x509.Certificate, now: datetime) -> None:
    if leaf.not_valid_after_utc < now:
        raise _Unusable(
            f"The certificate in {path} expired at {leaf.not_valid_after_utc:%Y-%m-%d %H:%M} UTC.", "Renew it."
        )
    if leaf.not_valid_before_utc > now:
        raise _Unusable(
            f"The certificate in {path} is valid from {leaf.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on.",
            "Check the clock of this host, or wait.",
        )


def _check_names(path: Path, leaf: x509.Certificate, domain: str) -> None:
    """Gateway and control plane may have certificates of their own, on hosts of their own: either is enough."""
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except (x509.ExtensionNotFound, ValueError):
        names = []
    if not {f"*.gw.{domain}", f"management.{domain}", f"*.{domain}"} & {name.lower() for name in names}:
        raise _Unusable(
            f"The certificate in {path} is for none of our names ({', '.join(names)[:200] or 'it names none'}).",
            f"Get one for *.gw.{domain}, *.{domain} and *.his.{domain}, or correct cloud.domain.",
        )


def _read_certificates(path: Path) -> list[x509.Certificate]:
    return _parse_certificates(path, _read(path))


def _parse_certificates(path: Path, data: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise _Unusable(f"{path} holds no certificate in PEM form ({error}).", "Name a PEM file.") from None


_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def _read_key(path: Path) -> _Key:
    data = _read_private(path)
    try:
        key = serialization.load_pem_private_key(data, None)
    except TypeError:
        raise _Unusable(
            f"The key in {path} is encrypted.", "Decrypt it: openssl pkey -in KEY -out NEW, and chmod 0600 NEW."
        ) from None
    except Exception as error:  # cryptography has no common type for what it can't read
        raise _Unusable(f"{path} holds no private key in PEM form ({error}).", "Name a PEM file.") from None
    if not isinstance(key, _Key) or _is_weak(key):
        raise _Unusable(f"The key in {path} is too weak, or of a kind that TLS can't use.", "Use RSA-2048 or P-256.")
    return key


def _is_weak(key: _Key) -> bool:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.key_size < 2048
    return isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in {"secp256r1", "secp384r1", "secp521r1"}


def _public_bytes(key: object) -> bytes:
    assert hasattr(key, "public_bytes")
    encoded: bytes = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _read_private(path: Path) -> bytes:
    file = _open(path)
    if file.is_open_to_others:
        raise _Unusable(f"Others on this host may use {path}.", f"Make it ours alone: chmod 0600 {path}")
    return file.data


def _read(path: Path) -> bytes:
    return _open(path).data


def _open(path: Path) -> RegularFile:
    try:
        file = read_regular_file(path, LARGEST_PEM)
    except Unreadable as error:
        raise _Unusable(f"{path} {error}.", "Check name and rights of the file.") from None
    if not file.data.strip():
        raise _Unusable(f"{path} is empty.", "Put the right file there.")
    return file
