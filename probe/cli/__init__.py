"""The ``probe`` command: one subcommand for each arrow of the data flow.

Nothing slow is imported before a subcommand that needs it runs.
"""

import click

from probe import __version__
from probe.cli import checkpoints, recompute, screening
from probe.cli.changes import changes
from probe.cli.common import Commands
from probe.cli.select import select
from probe.cli.upkeep import cache

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="probe")
def main() -> None:
    """Which machine-learned energies of a compound library to trust, and which to send to DFT.

    A library goes through plan, ingest, embed, score, triage and report; Snakemake runs them all
    (`make screen LIBRARY=file`). Exit codes: 0 done, 2 something to mend, said in one line.
    """


for _command in (
    *(screening.plan, screening.ingest, screening.weights, screening.embed),
    *(screening.score, screening.triage, screening.report, screening.agree),
    changes,
    select,
    *(recompute.shards, recompute.recompute, recompute.decks, recompute.collect),
    *(recompute.energies, recompute.audit),
    *(checkpoints.acquire, checkpoints.label, checkpoints.train),
    *(checkpoints.evaluate, checkpoints.card, checkpoints.compare),
    cache,
):
    main.add_command(_command)
