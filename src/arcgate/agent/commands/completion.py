"""`azcmagent completion`, and the script of it that `arcgate completion` prints for itself."""

import click
from click.shell_completion import get_completion_class

from arcgate.agent.commands.invocation import common_flags, invocation

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@common_flags
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what makes a shell complete this command's words: put eval "$(azcmagent completion bash)" into ~/.bashrc.

    For zsh the same with zsh; for fish: azcmagent completion fish > ~/.config/fish/completions/azcmagent.fish
    """
    console = invocation().console
    script = completion_script(context.find_root().command, "azcmagent", shell)
    if console.is_json:
        console.document({"shell": shell, "script": script})
    console.line(script)


def completion_script(program: click.Command, name: str, shell: str) -> str:
    """Return the shell script that completes the words of the program of that name."""
    kind = get_completion_class(shell)
    assert kind is not None, "click knows all of SHELLS"
    return kind(program, {}, name, f"_{name.upper()}_COMPLETE").source()
