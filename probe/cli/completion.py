"""The command that makes a shell complete the words of the others."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands, options and their values.

    \b
    Examples, for this session; in ~/.bashrc or ~/.zshrc for all:
      eval "$(probe completion bash)"
      eval "$(probe completion zsh)"
      probe completion fish > ~/.config/fish/completions/probe.fish
    """
    found = get_completion_class(shell)
    if found is None:
        raise click.BadParameter(f"click knows no completion for {shell}")
    click.echo(found(ctx.find_root().command, {}, "probe", "_PROBE_COMPLETE").source())
