"""Sends rows by the official ingestion library; run by a test in the libraries' environment. Arguments: ENDPOINT."""

import sys
import time

from azure.core.credentials import AccessToken
from azure.monitor.ingestion import LogsIngestionClient

ROWS = 300
TOKEN = "a-token-of-the-sign-in"


class Known:
    """A token that the machine has already, as agents have theirs from the machine's own identity."""

    def get_token(self, *scopes: str, **_options: object) -> AccessToken:
        return AccessToken(TOKEN, int(time.time()) + 3600)


def main() -> None:
    client = LogsIngestionClient(endpoint=sys.argv[1], credential=Known(), retry_total=0)
    rows = [
        {"TimeGenerated": "2026-11-23T00:00:00Z", "Computer": "machine", "Number": number} for number in range(ROWS)
    ]
    client.upload(rule_id="dcr-0123456789abcdef", stream_name="Custom-Rows_CL", logs=rows)


if __name__ == "__main__":
    main()
