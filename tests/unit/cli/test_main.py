"""The command `arcgate` as a whole."""

import pytest
from click.testing import CliRunner

from arcgate.cli.main import arcgate


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_what_completes_the_commands_words(shell: str) -> None:
    result = CliRunner().invoke(arcgate, ["completion", shell])
    assert result.exit_code == 0
    assert f"_ARCGATE_COMPLETE={shell}_complete" in result.stdout
    words = {"COMP_WORDS": "arcgate gate", "COMP_CWORD": "gate" if shell == "fish" else "1"}
    environment = {**words, "_ARCGATE_COMPLETE": f"{shell}_complete"}
    assert "gateway" in CliRunner().invoke(arcgate, [], env=environment, prog_name="arcgate").stdout
