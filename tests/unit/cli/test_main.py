"""The command `arcgate` as a whole."""

import sys
from importlib import import_module
from types import ModuleType

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


@pytest.mark.parametrize(
    ("program", "heavy", "code"),
    [
        ("arcgate.cli.__main__", "arcgate.cli.main", 130),
        ("arcgate.agent.commands.main", "arcgate.agent.commands.cli", 11),
    ],
)
def test_ctrl_c_during_the_start_is_no_trace(
    program: str, heavy: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(ModuleType):
        def __getattr__(self, _name: str) -> object:
            raise KeyboardInterrupt

    main = import_module(program).main
    monkeypatch.setitem(sys.modules, heavy, Interrupted(heavy))
    monkeypatch.setattr(sys, "argv", ["program", "version"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == code
