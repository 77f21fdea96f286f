"""Which authorities a machine must trust to reach this control plane."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from arcgate.control.authority import Authority
from arcgate.control.authority.server_certificate import read_pem
from arcgate.core.configuration import Configuration
from arcgate.core.errors import StateError
from arcgate.net.tls import join_pem


def authorities_pem(configuration: Configuration, authority: Authority) -> str:
    """Return the authorities in PEM, or nothing when the system's own are enough.

    With a certificate from a file, these are the self-signed ones at the end of its chain, if there are any; with
    one by ACME, those of `acme.ca_file`, and our own until it has come. Raises StateError (TLS_FILE_UNUSABLE).
    """
    if configuration.acme.directory:
        own = "" if configuration.acme_certificate.exists() else authority.ca_pem
        return join_pem([own, read_pem(configuration.acme.ca_file) if configuration.acme.ca_file else ""])
    path = configuration.tls.certificate_file
    if path is None:
        return authority.ca_pem
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StateError("TLS_FILE_UNUSABLE", f"{path} can't be read.", cause=str(error)) from None
    roots = [one for one in chain if one.subject == one.issuer]
    return "".join(one.public_bytes(Encoding.PEM).decode("ascii") for one in roots)
