import argparse
import functools
import json
import os
import re
import sys
from pathlib import Path

from probe import config as checks
from probe import tables, watch, weights
from probe.classifier import card
from probe.errors import ProbeError
from probe.library import plan

# The `probe` of the Python that runs Snakemake serves the jobs, unless an environment that the
# job activates brings its own. Threads that wait do so asleep: on a shared node, spinning ones
# take the cores from those that work.
os.environ.update(
    PATH=os.pathsep.join([*os.get_exec_path(), str(Path(sys.executable).parent)]),
    OMP_WAIT_POLICY="PASSIVE",
)


def plan_of(name, library):
    """The plan of a library, made again where its files have changed."""
    return plan.current(
        name,
        library.path,
        config["shard_size"],
        Path(f"results/{name}/plan.json"),
        pickles=config["ingest"]["pickles"],
    )


try:
    config.update(checks.check(config))
    if config["backbones"] is not None:  # for the jobs, too
        os.environ.update(PROBE_BACKBONES=str(Path(config["backbones"]).resolve()))
    LIBRARIES = checks.libraries(config, Path.cwd())
    WATCHED = watch.libraries(
        config,
        LIBRARIES,
        Path.cwd(),
        plan_of,
        # a job is not asked again whether its library has come to rest
        settle=None if workflow.is_main_process else 0,
    )
    LIBRARIES.update(WATCHED.libraries)
    MADE_BY = checks.same_file(LIBRARIES)
    AGREEMENTS = {"+".join(names): names for names in checks.comparable(LIBRARIES)}
    ENSEMBLE = [
        entry.name for entry in weights.ensemble(weights.entry(config["backbone"]))
    ]
    BACKBONES = {*ENSEMBLE, *(library.backbone for library in LIBRARIES.values())}
    TO_LABEL = checks.name_of(config["to_label"] or "none", "to_label")
    PLANS = {name: plan_of(name, library) for name, library in LIBRARIES.items()}
except ProbeError as error:
    sys.exit(f"probe: error: {error}")

if workflow.is_main_process:
    for why in WATCHED.left_out.values():
        print(f"probe: left out: {why}", file=sys.stderr)
    for warning in filter(None, (made.warning() for made in PLANS.values())):
        print(f"probe: {warning}", file=sys.stderr)


def one_of(names):
    """What a wildcard matches that is one of `names`."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    library=one_of(LIBRARIES),
    shard=r"\d+",
    backbone=one_of(BACKBONES),
    screenings=one_of(AGREEMENTS),


def required(key):
    """An input function: the file that a key of the configuration names, which may be null."""

    def file(wildcards):
        if config[key] is None:
            sys.exit(f"probe: error: config key {key} is null; let it name a file")
        return config[key]

    return file


def files_of_shard(wildcards):
    """The files of a library that one of its shards reads."""
    parts = PLANS[wildcards.library].parts(int(wildcards.shard))
    return [part.source.path for part in parts]


def backbone(wildcards):
    """The potential that a library is screened with."""
    return LIBRARIES[wildcards.library].backbone


def weights_of(wildcards):
    """What was fetched of that potential."""
    return f"models/weights/{backbone(wildcards)}.json"


@functools.cache
def checkpoint_folder(library):
    """Where the checkpoint of a library is; of None, the configured one.

    Asked only for what reads it: a backbone's first checkpoint is trained where there is none.
    """
    try:
        folder = (
            card.resolve(config["checkpoint"])
            if library is None
            else card.folder_of(library, LIBRARIES[library])
        )
    except ProbeError as error:
        sys.exit(f"probe: error: {error}")
    return Path(os.path.relpath(folder))


def checkpoint(file):
    """An input function: `file` of the checkpoint of the library, if the rule has one."""

    def path(wildcards):
        return checkpoint_folder(wildcards.get("library")) / file

    return path


def made_by_first(pattern):
    """An input function: `pattern` in the first library that is the same file."""

    def file(wildcards):
        return expand(
            pattern, library=MADE_BY[wildcards.library], shard=wildcards.shard
        )

    return file


def in_each(pattern):
    """An input function: `pattern` for every one of the screenings of one file."""

    def files(wildcards):
        return expand(pattern, library=AGREEMENTS[wildcards.screenings])

    return files


def conformers_of_each(wildcards):
    """The conformers of every one of the screenings of one file."""
    return [
        f"results/{name}/conformers/{shard}.parquet"
        for name in AGREEMENTS[wildcards.screenings]
        for shard in PLANS[name].names()
    ]


def shards(pattern):
    """An input function: `pattern` for every shard of the library."""

    def files(wildcards):
        return expand(
            pattern, library=wildcards.library, shard=PLANS[wildcards.library].names()
        )

    return files


def threads_of_shard(wildcards):
    """One where there is a shard for every core: two such jobs are faster than one of two threads."""
    cores = workflow.resource_settings.cores or 1  # a cluster's are not known
    return 1 if len(PLANS[wildcards.library].names()) >= max(cores, 2) else 2


def flags(section, *only):
    """The keys of a section of the configuration as command-line options; null ones left out."""
    return [
        word
        for key, value in config[section].items()
        if value is not None and (not only or key in only)
        for word in (f"--{key.replace('_', '-')}", str(value))
    ]


def results_of_shards(wildcards):
    """What every shard of the recompute list gave; how many there are its cost decides."""
    plan = checkpoints.recompute_shards.get(library=wildcards.library).output[0]
    return expand(
        "results/{library}/dft/{shard}.parquet",
        library=wildcards.library,
        shard=[f"{shard:05d}" for shard in range(tables.provenance(plan)["n_shards"])],
    )


def collected(wildcards):
    """What `probe collect` read back and what audits computed, where there is something."""
    folder = Path(f"results/{wildcards.library}/dft")
    names = ("collected.parquet", "audited.parquet")
    return [folder / name for name in names if (folder / name).exists()]


def fitted_to(wildcards):
    """The labels of the configured checkpoint: beside it, where it was promoted here."""
    beside = checkpoint_folder(None) / "labels.parquet"
    return beside if beside.is_file() else config["labels"]


def settings():
    """The configuration for another call of snakemake, all but the checkpoint, as JSON."""
    return json.dumps(
        {key: value for key, value in config.items() if key != "checkpoint"}
    )


def profile(words):
    """The profile that the words of a command line choose, as words."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--profile")
    name = parser.parse_known_args(words)[0].profile
    return [] if name is None else ["--profile", name]
