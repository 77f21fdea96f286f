import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcgate.control.store.sealing import Sealer, load_sealer, write_private_file
from arcgate.core.errors import StateError

SEALER = Sealer(bytes(32))


@given(st.binary(), st.text())
def test_what_was_sealed_comes_back_for_the_same_purpose(plain: bytes, purpose: str) -> None:
    sealed = SEALER.seal(plain, purpose)
    assert SEALER.open(sealed, purpose) == plain
    with pytest.raises(StateError):
        SEALER.open(sealed, purpose + "x")


@given(st.binary(max_size=20), st.integers(0, 10_000))
def test_a_changed_bit_is_noticed(plain: bytes, place: int) -> None:
    sealed = bytearray(SEALER.seal(plain, "p"))
    sealed[place % len(sealed)] ^= 1
    with pytest.raises(StateError):
        SEALER.open(bytes(sealed), "p")


def test_the_key_is_made_once_and_ours_alone(tmp_path: Path) -> None:
    sealed = load_sealer(tmp_path).seal(b"x", "p")
    path = tmp_path / "secrets" / "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_sealer(tmp_path).open(sealed, "p") == b"x"


@pytest.mark.parametrize("content", ["", "zz", "00" * 31, "ä"])
def test_a_damaged_key_is_refused(tmp_path: Path, content: str) -> None:
    write_private_file(tmp_path / "secrets" / "master.key", content)
    with pytest.raises(StateError) as caught:
        load_sealer(tmp_path)
    assert caught.value.code == "MASTER_KEY_INVALID"


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    load_sealer(tmp_path)
    (tmp_path / "secrets" / "master.key").chmod(0o640)
    with pytest.raises(StateError):
        load_sealer(tmp_path)


def test_a_private_file_is_whole_and_leaves_no_drafts(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_private_file(path, "first", replace=False)
    write_private_file(path, "second", replace=False)
    assert path.read_text() == "first"
    write_private_file(path, "third")
    assert path.read_text() == "third"
    assert [one.name for one in tmp_path.iterdir()] == ["f"]
