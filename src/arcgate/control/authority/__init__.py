"""The certificate authorities of the control plane: one for servers, one for machines.

Clients trust the server root (`ca.pem`); gateways trust the machine authority. They are apart so that a
machine's certificate never passes for a server's, whatever a verifier forgets to check.
"""
