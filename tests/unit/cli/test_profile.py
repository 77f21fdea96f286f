import stat
from pathlib import Path

import pytest

from arcgate.cli.profile import Profile, ProfileFolder, Tokens
from arcgate.core.errors import StateError


@pytest.fixture
def folder(tmp_path: Path) -> ProfileFolder:
    return ProfileFolder(tmp_path / "profile")


def test_without_files_the_profile_is_empty(folder: ProfileFolder) -> None:
    assert folder.load() == Profile()
    assert folder.load_tokens() == Tokens()


def test_what_was_saved_is_loaded(folder: ProfileFolder) -> None:
    profile = Profile(endpoint="https://a.example", user="me")
    tokens = Tokens("token", 12.5, client_secret="secret")
    folder.save(profile)
    folder.save_tokens(tokens)
    assert folder.load() == profile
    assert folder.load_tokens() == tokens


def test_folder_and_files_are_ours_alone(folder: ProfileFolder) -> None:
    folder.save(Profile())
    folder.save_tokens(Tokens("token"))
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.path.iterdir()} == {0o600}


def test_tokens_that_others_may_read_are_not_used(folder: ProfileFolder) -> None:
    folder.save_tokens(Tokens("token"))
    (folder.path / "tokens.json").chmod(0o644)
    with pytest.raises(StateError, match="Others"):
        folder.load_tokens()


def test_logging_out_keeps_the_endpoint_alone(folder: ProfileFolder) -> None:
    folder.save(Profile(endpoint="https://a.example", ca="PEM", user="me", tenant_id="t", subscription_id="s"))
    folder.save_tokens(Tokens("token"))
    assert folder.forget()
    assert folder.load() == Profile(endpoint="https://a.example", ca="PEM")
    assert folder.load_tokens() == Tokens()
    assert not folder.forget()


@pytest.mark.parametrize("content", ["", "[]", "5", '{"endpoint": 5}', "{", "[" * 100_000])
def test_a_damaged_profile_is_told_and_not_used(folder: ProfileFolder, content: str) -> None:
    folder.save(Profile())
    (folder.path / "profile.json").write_text(content)
    with pytest.raises(StateError) as caught:
        folder.load()
    assert "profile.json" in caught.value.sentence
    assert caught.value.remedy


def test_keys_of_a_newer_version_are_left_aside(folder: ProfileFolder) -> None:
    folder.save(Profile())
    (folder.path / "profile.json").write_text('{"endpoint": "https://a.example", "newer": 1}')
    assert folder.load().endpoint == "https://a.example"


def test_the_environment_moves_the_folder(tmp_path: Path) -> None:
    assert ProfileFolder.find({"ARCGATE_CONFIG_DIR": str(tmp_path)}).path == tmp_path


def test_a_folder_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="can't be written"):
        ProfileFolder(tmp_path / "file").save(Profile())


def test_tokens_do_not_show_themselves() -> None:
    assert "hush" not in repr(Tokens("hush", client_secret="hush"))
