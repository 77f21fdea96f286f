"""The kernel tells who is at the other end of a connection within this machine."""

import os
import socket
from collections.abc import Iterator

import pytest

from arcgate.net.socket_owners import SocketOwners


@pytest.fixture
def owners() -> Iterator[SocketOwners]:
    opened = SocketOwners()
    yield opened
    opened.close()


@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_peers_owner_is_named(owners: SocketOwners, family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as listening:
        listening.bind((address, 0))
        listening.listen()
        with socket.create_connection((address, listening.getsockname()[1])) as client:
            accepted, _ = listening.accept()
            with accepted:
                for _ in range(2):
                    owner = owners.owner_of_peer(accepted)
                    assert owner is not None
                    assert (owner.user_id, owner.inode) == (os.getuid(), os.fstat(client.fileno()).st_ino)
                client.close()
                assert owners.owner_of_peer(accepted) is None


def test_a_socket_without_a_peer_has_no_owner(owners: SocketOwners) -> None:
    with socket.socket() as alone:
        assert owners.owner_of_peer(alone) is None
