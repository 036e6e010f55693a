#!/bin/sh
# Snakemake runs this in the new environment, from the folder that it was started in.
set -eu
if [ ! -f "$PWD/pyproject.toml" ]; then
    echo "envs: no project in $PWD; start snakemake in the root of the repository" >&2
    exit 1
fi
python -m pip install --no-deps --no-index --no-build-isolation --editable "$PWD"
