"""The certificate authorities of the control plane: one for servers, one for machines.

Clients trust the server root (`ca.pem`); gateways trust the machine authority. They are apart so that a
machine's certificate never passes for a server's, whatever a verifier forgets to check.
"""

from arcgate.control.authority.authority import Authority, load_authority
from arcgate.control.authority.certificates import MachineIdentity, serial_of

__all__ = ["Authority", "MachineIdentity", "load_authority", "serial_of"]
