import os
import re
import sys
from pathlib import Path

from probe import card, plan, weights
from probe import config as checks
from probe.errors import ProbeError

# The `probe` of the Python that runs Snakemake serves the jobs, unless an environment that the
# job activates brings its own. Threads that wait do so asleep: on a shared node, spinning ones
# take the cores from those that work.
os.environ.update(
    PATH=os.pathsep.join([*os.get_exec_path(), str(Path(sys.executable).parent)]),
    OMP_WAIT_POLICY="PASSIVE",
)

try:
    config.update(checks.check(config))
    LIBRARIES = checks.libraries(config, Path.cwd())
    CHECKPOINT = Path(os.path.relpath(card.resolve(config["checkpoint"])))
    BACKBONE = weights.entry(config["backbone"])
    TO_LABEL = checks.name_of(config["to_label"] or "none", "to_label")
    card.require(card.read(config["checkpoint"]), BACKBONE.fingerprint, BACKBONE.name)
    PLANS = {
        name: plan.current(
            name, path, config["shard_size"], Path(f"results/{name}/plan.json")
        )
        for name, path in LIBRARIES.items()
    }
except ProbeError as error:
    sys.exit(f"probe: error: {error}")


wildcard_constraints:
    library="|".join(map(re.escape, LIBRARIES)) or "none",
    shard=r"\d+",
    backbone=re.escape(BACKBONE.name),


def required(key):
    """An input function: the file that a key of the configuration names, which may be null."""

    def file(wildcards):
        if config[key] is None:
            sys.exit(f"probe: error: config key {key} is null; let it name a file")
        return config[key]

    return file


def library_file(wildcards):
    """The file of a library."""
    return LIBRARIES[wildcards.library]


def shards(pattern):
    """An input function: `pattern` for every shard of the library."""

    def files(wildcards):
        return expand(
            pattern, library=wildcards.library, shard=PLANS[wildcards.library].names()
        )

    return files


def flags(section):
    """The keys of a section of the configuration as command-line options; null ones left out."""
    return [
        word
        for key, value in config[section].items()
        if value is not None
        for word in (f"--{key.replace('_', '-')}", str(value))
    ]
