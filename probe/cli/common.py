"""What the commands share: how they end, and options that several of them take."""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

import click

from probe.errors import ProbeError, is_out_of_memory

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)

BATCH_ATOMS = click.option(
    "--batch-atoms", type=click.IntRange(1), help="Padded atoms at once [default: by the device]."
)

PICKLES = click.option(
    "--pickles",
    type=click.Choice(["refuse", "trust"]),
    default="refuse",
    show_default=True,
    help="What to do with a .pt file.",
)


INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""
SENTENCE = 200
"""Characters of a command's first sentence that the list of commands may show."""

CACHE = click.option(
    "--cache",
    type=FOLDER,
    default=Path("cache"),
    show_default=True,
    help="The store of embeddings.",
)
DEVICE = click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print a JSON object.")


class Commands(click.Group):
    """A group whose commands end in one line and exit code 2 on what a user can mend.

    Its help lists them in sections, in the order in which ``add_section`` is called.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._sections: dict[str, list[str]] = {}

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Add ``commands``, which the help lists below ``title``."""
        for command in commands:
            self.add_command(command)
            self._sections.setdefault(title, []).append(str(command.name))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except ProbeError as error:
            message = str(error)
        except BrokenPipeError:
            raise  # whoever reads has enough: click ends without a word
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            message = f"{place}{error.strerror or error}"
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "probe"
            message = f"{error.format_message()}{_nearest(error)} See `{command} --help`."
        except (KeyboardInterrupt, click.Abort):
            click.echo("probe: interrupted; the same command begins or goes on again", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from None
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            said = next(iter(str(error).splitlines()), "no more could be had")
            message = f"too little memory ({said}); give it more, or take smaller shards or batches"
        click.echo(f"probe: error: {message}", err=True)
        raise click.exceptions.Exit(2)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by section; those of none as click lists them."""
        if not self._sections:
            super().format_commands(ctx, formatter)
        width = max(map(len, self.commands), default=0)
        for title, names in self._sections.items():
            with formatter.section(title):
                lines = [(name, self.commands[name].get_short_help_str(SENTENCE)) for name in names]
                formatter.write_dl([(name.ljust(width), text) for name, text in lines])

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the data flow, not of the alphabet."""
        return list(self.commands)


def _nearest(error: click.UsageError) -> str:
    """The choice that a wrong one may stand for; click itself does that for names of options."""
    kind = error.param.type if isinstance(error, click.BadParameter) and error.param else None
    wrong = re.match(r"'(.*?)' is not one of", error.message)
    if not isinstance(kind, click.Choice) or wrong is None:
        return ""
    near = difflib.get_close_matches(wrong[1], map(str, kind.choices), n=1)
    return f" Did you mean '{near[0]}'?" if near else ""


def triaged(summary: Mapping[str, Any]) -> Iterator[str]:
    """What is said of a triaged library, line by line."""
    name = summary["library"]
    yield (
        f"{name}: {summary['n_records']} records = {summary['n_ingested']} ingested "
        f"+ {summary['n_rejected']} rejected; {summary['n_conformers']} conformers = "
        f"{summary['n_accept']} accepted + {summary['n_recompute']} to recompute"
    )
    if not summary["n_records"]:
        yield f"{name}: the library has no records, so nothing was screened"
    if summary["n_molecules_several"]:
        yield (
            f"{name}: {summary['n_molecules']} molecules, "
            f"{summary['n_molecules_several']} of several conformers = "
            f"{summary['n_molecules_accept']} accepted + "
            f"{summary['n_molecules_recompute']} to recompute"
        )
    if summary["statement"]:
        yield f"{name}: {summary['statement']}"


def ingest_options(
    charge_tag: str | None = None, multiplicity_tag: str | None = None
) -> Callable[[Any], Any]:
    """One option for each setting of how records become conformers."""

    def choice(name: str, choices: tuple[str, ...], text: str) -> Any:
        kind = click.Choice(choices)
        return click.option(name, type=kind, default=choices[0], show_default=True, help=text)

    def text(name: str, default: str | None, text: str) -> Any:
        return click.option(name, default=default, show_default=True, help=text)

    options = (
        click.option("--seed", type=int, default=42, show_default=True, help="Of embedding."),
        choice("--forcefield", ("mmff94", "uff", "none"), "Clean-up of embedded geometries."),
        choice("--mixtures", ("largest", "keep", "reject"), "What to do with salts and mixtures."),
        choice("--flat-records", ("embed", "reject"), "What to do with 2D records of an SD file."),
        text("--smiles-column", "smiles", "Column of the SMILES."),
        text("--name-column", None, "Column or SD property that names a molecule."),
        text("--charge-tag", charge_tag, "Property that states the total charge."),
        text("--multiplicity-tag", multiplicity_tag, "Property that states 2S + 1."),
        PICKLES,
    )
    return lambda command: reduce(lambda made, option: option(made), reversed(options), command)
