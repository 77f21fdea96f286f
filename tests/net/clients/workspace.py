"""Sends rows to a workspace, signed with its key, by requests; run by a test. Arguments: HOST KEY."""

import base64
import hashlib
import hmac
import json
import sys
from email.utils import formatdate

import requests


def main() -> None:
    host, key = sys.argv[1:]
    body = json.dumps([{"Computer": "machine", "Number": number} for number in range(50)])
    date, kind = formatdate(usegmt=True), "application/json"
    text = f"POST\n{len(body)}\n{kind}\nx-ms-date:{date}\n/api/logs"
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    signature = f"SharedKey {host.partition('.')[0]}:{base64.b64encode(digest).decode()}"
    fields = {"Authorization": signature, "Log-Type": "Rows", "x-ms-date": date, "Content-Type": kind}
    answer = requests.post(f"https://{host}/api/logs?api-version=2016-04-01", body, headers=fields, timeout=10)
    answer.raise_for_status()


if __name__ == "__main__":
    main()
