"""Stands in for a domain controller behind Squid: NTLM version 2 for one user, by Squid's helper protocol (MS-NLMP).

Written against the protocol's description with the standard library alone, so that the agent's side is not checked by
itself. Run: ntlm_helper.py USER NT_HASH
"""

import base64
import hmac
import os
import struct
import sys

SIGNATURE = b"NTLMSSP\0"
FLAGS = 0x1 | 0x4 | 0x200 | 0x8000 | 0x10000 | 0x80000 | 0x800000 | 0x20000000
DOMAIN = "CORP"


def challenge_message(challenge: bytes) -> bytes:
    """Return the second message."""
    name = DOMAIN.encode("utf-16-le")
    pairs = b"".join(struct.pack("<HH", kind, len(name)) + name for kind in (2, 1)) + bytes(4)
    head = 56
    fields = (
        struct.pack("<HHI", len(name), len(name), head),
        struct.pack("<HHI", len(pairs), len(pairs), head + len(name)),
    )
    return (
        SIGNATURE
        + struct.pack("<I", 2)
        + fields[0]
        + struct.pack("<I", FLAGS)
        + challenge
        + bytes(8)
        + fields[1]
        + bytes(8)
        + name
        + pairs
    )


def part(message: bytes, place: int) -> bytes:
    """Return what the descriptor at that place of a message points to."""
    length, _, offset = struct.unpack_from("<HHI", message, place)
    return message[offset : offset + length]


def is_right(message: bytes, challenge: bytes, user: str, nt_hash: bytes) -> bool:
    """Whether the third message proves the password."""
    answer, domain, given = (part(message, place) for place in (20, 28, 36))
    if given.decode("utf-16-le").lower() != user or len(answer) < 40:
        return False
    key = hmac.new(nt_hash, given.decode("utf-16-le").upper().encode("utf-16-le") + domain, "md5").digest()
    return hmac.compare_digest(hmac.new(key, challenge + answer[16:], "md5").digest(), answer[:16])


def main(user: str, nt_hash: bytes) -> None:
    """Answer Squid's lines until it closes them."""
    challenge = b""
    for line in sys.stdin:
        command, _, token = line.strip().partition(" ")
        message = base64.b64decode(token)
        if command == "YR":
            challenge = os.urandom(8)
            answer = "TT " + base64.b64encode(challenge_message(challenge)).decode()
        elif command == "KK" and message[:8] == SIGNATURE and challenge and is_right(message, challenge, user, nt_hash):
            answer = f"AF {user}"
        else:
            answer = "NA wrong"
        sys.stdout.write(answer + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], bytes.fromhex(sys.argv[2]))
