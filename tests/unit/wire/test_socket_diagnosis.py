"""The question who owns a socket, byte by byte, and answers that are none."""

import struct

import pytest

from arcgate.wire.socket_diagnosis import SocketOwner, format_question, parse_answer


def answer(user_id: int, inode: int, kind: int = 20) -> bytes:
    body = struct.pack("=BBBB48xIIIII", 2, 1, 0, 0, 0, 0, 0, user_id, inode)
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 1, 0) + body


def test_the_question_names_one_connection() -> None:
    question = format_question(("127.0.0.1", 50000), ("127.0.0.1", 40343))
    assert len(question) == struct.unpack_from("=I", question)[0] == 72
    assert question[16:18] == bytes([2, 6])
    assert question[24:28] == struct.pack("!HH", 50000, 40343)
    assert question[28:32] == question[44:48] == bytes([127, 0, 0, 1])


def test_ipv6_is_asked_for_in_full() -> None:
    question = format_question(("::1", 1), ("::1", 2))
    assert question[16] == 10
    assert question[28:44] == bytes(15) + b"\x01"


def test_the_answer_tells_user_and_inode() -> None:
    assert parse_answer(answer(1000, 77)) == SocketOwner(1000, 77)


@pytest.mark.parametrize("data", [b"", b"\0" * 16, answer(1000, 77)[:-1], answer(1000, 77, kind=2)])
def test_an_error_is_no_owner(data: bytes) -> None:
    assert parse_answer(data) is None


def test_a_socket_that_was_closed_is_not_taken_for_roots() -> None:
    assert parse_answer(answer(0, 0)) is None
