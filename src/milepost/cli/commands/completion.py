"""`milepost completion`."""

import click
from click.shell_completion import get_completion_class

from milepost.cli.output import write

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    r"""Write what makes a shell complete commands, options, task types and ids.

    \b
    bash   add to ~/.bashrc:    eval "$(milepost completion bash)"
    zsh    add to ~/.zshrc:     eval "$(milepost completion zsh)"     (after compinit)
    fish   milepost completion fish > ~/.config/fish/completions/milepost.fish
    """
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - click has all three
    write(found(ctx.find_root().command, {}, "milepost", "_MILEPOST_COMPLETE").source())
