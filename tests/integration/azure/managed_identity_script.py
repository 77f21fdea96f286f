"""Gets tokens of the machine's identity by the official libraries, and calls the cloud with one; run by a test.

It runs in the libraries' own environment. Arguments: LIBRARY RESOURCE [URL...]. It writes one JSON object.
"""

import json
import sys
from importlib import import_module
from typing import Any

import requests

NOBODY = "6b1a6d0e-0000-4000-8000-000000000000"


def by_azure_identity(resource: str, **selector: str) -> dict[str, Any]:
    identity, exceptions = import_module("azure.identity"), import_module("azure.core.exceptions")
    try:
        token = identity.ManagedIdentityCredential(**selector).get_token(f"{resource}/.default")
    except exceptions.ClientAuthenticationError as error:
        return {"error": str(error)}
    return {"access_token": token.token, "expires_on": token.expires_on}


def of_a_user_assigned_identity(resource: str) -> dict[str, Any]:
    return by_azure_identity(resource, client_id=NOBODY)


def by_default(resource: str) -> dict[str, Any]:
    credential = import_module("azure.identity").DefaultAzureCredential()
    return {"access_token": credential.get_token(f"{resource}/.default").token}


def by_msal(resource: str) -> dict[str, Any]:
    msal = import_module("msal")
    client = msal.ManagedIdentityClient(msal.SystemAssignedManagedIdentity(), http_client=requests.Session())
    return dict(client.acquire_token_for_client(resource=resource))


WAYS = {
    "azure-identity": by_azure_identity,
    "user-assigned": of_a_user_assigned_identity,
    "default": by_default,
    "msal": by_msal,
}


def main(library: str, resource: str, *urls: str) -> None:
    found = WAYS[library](resource)
    answers = []
    for url in urls:
        reply = requests.get(url, headers={"Authorization": f"Bearer {found['access_token']}"}, timeout=30)
        answers.append({"status": reply.status_code, "document": reply.json()})
    sys.stdout.write(json.dumps({**found, "answers": answers}))


if __name__ == "__main__":
    main(*sys.argv[1:])
