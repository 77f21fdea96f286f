"""The file that inspection.ca names: what can be trusted on purpose, and what can't."""

from pathlib import Path

import pytest

from arcgate.agent.errors import AzcmError
from arcgate.agent.inspection_ca import LARGEST_FILE, read_authorities
from arcgate.agent.local_settings import SettingsFile, settings_of
from arcgate.agent.paths import AgentPaths
from arcgate.core.errors import InputError
from worlds.authority import Authority


@pytest.fixture
def settings(tmp_path: Path) -> SettingsFile:
    paths = AgentPaths.from_environment({"AZCMAGENT_HOME": str(tmp_path / "home")})
    paths.prepare()
    return SettingsFile(paths)


def test_certificates_in_pem_are_read(authority: Authority) -> None:
    assert read_authorities(authority.file) == authority.pem


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_authorities(file)
    assert caught.value.code == "INSPECTION_CA_UNUSABLE"


def test_a_file_without_end_is_not_read(tmp_path: Path, authority: Authority) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(authority.pem + " " * LARGEST_FILE)
    with pytest.raises(InputError, match=r"ca\.pem"):
        read_authorities(file)


def test_a_setting_is_looked_at_when_it_is_made(settings: SettingsFile, authority: Authority, tmp_path: Path) -> None:
    for wrong in ("relative.pem", str(tmp_path / "missing.pem")):
        with pytest.raises(AzcmError) as caught:
            settings.set("inspection.ca", wrong)
        assert caught.value.number == 23
    assert settings.set("inspection.ca", str(authority.file)) == str(authority.file)
    assert settings.set("inspection.ca", "") == ""


def test_a_file_that_has_gone_does_not_make_the_setting_another_one(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.pem")
    assert settings_of({"inspection.ca": gone}, {}).values["inspection.ca"] == gone
