"""Keeps a secret in a vault by the official libraries; run by a test. Arguments: URL TENANT CLIENT_SECRET VALUE."""

import sys

from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient


def main() -> None:
    url, tenant, client_secret, value = sys.argv[1:]
    who = ClientSecretCredential(tenant, "a-client", client_secret, disable_instance_discovery=True, retry_total=0)
    client = SecretClient(vault_url=url, credential=who, retry_total=0)
    client.set_secret("password", value)
    sys.stdout.write(client.get_secret("password").value or "")


if __name__ == "__main__":
    main()
