"""The ``probe`` command: one subcommand for each arrow of the data flow.

Nothing slow is imported before a subcommand that needs it runs.
"""

import click

from probe import __version__
from probe.cli import checkpoints, recompute, screening
from probe.cli.changes import changes
from probe.cli.common import Commands
from probe.cli.completion import completion
from probe.cli.export import export
from probe.cli.screen import screen
from probe.cli.select import select
from probe.cli.show import show
from probe.cli.upkeep import cache

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="probe")
def main() -> None:
    """Which machine-learned energies of a compound library to trust, and which to send to DFT.

    \b
    A first screening, and what became of one conformer of it:
      probe screen molecules.smi
      probe show aspirin

    \b
    Exit codes: 0 done; 2 something to mend, said in one line on standard error; 130 interrupted.
    An interrupted label or recompute ends in order, and with 2.
    Words completed by the shell: probe completion --help
    """


main.add_section("Screen a library", screen)
main.add_section(
    "Screen it step by step",
    *(screening.plan, screening.ingest, screening.weights, screening.embed),
    *(screening.score, screening.triage, screening.report),
)
main.add_section("Look at what came out", show, select, export, screening.agree, changes)
main.add_section(
    "Recompute with DFT",
    *(recompute.shards, recompute.recompute, recompute.decks, recompute.collect),
    *(recompute.energies, recompute.audit),
)
main.add_section(
    "Label, train and judge",
    *(checkpoints.acquire, checkpoints.label, checkpoints.train),
    *(checkpoints.recalibrate, checkpoints.evaluate, checkpoints.card, checkpoints.compare),
)
main.add_section("Look after it", cache, completion)
