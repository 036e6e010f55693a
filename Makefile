# The commands of the README and the developers' own. `make` alone lists them.

# CPU cores that a screening on this machine may use: a number, or all.
CORES ?= all
# A library file to screen instead of those in config/libraries.tsv.
LIBRARY ?=
# CUDA=1 takes the CUDA lock, and .venv keeps it until CUDA=0.
CUDA ?= $(shell grep -qs ^cuda .venv/.lock && echo 1)

# Of bench-kills.
KILLS ?= 10

export CORES
export library := $(value LIBRARY)

# The path as a YAML string: Snakemake would take 7 or [a].smi for something else.
library_config = library='$$(printf %s "$$library" | sed "s/'/''/g")'

.DEFAULT_GOAL := help
.PHONY: help setup screen test docs bench bench-large bench-kills lint format lock clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## make .venv from the lock (CUDA=1: with CUDA)
	@tools/setup $(if $(filter 1,$(CUDA)),cuda,cpu)

screen: setup ## screen the libraries of config/libraries.tsv (LIBRARY=file: that one; CORES=n)
	@.venv/bin/snakemake --cores "$$CORES" $${library:+--config "$(library_config)"}

test: setup ## run the tests
	.venv/bin/pytest

docs: setup ## build the documentation: build/docs/index.html
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

bench: setup ## measure ratios of speed on the demo library, once screened: bench.json
	.venv/bin/python bench/ratios.py bench.json

bench-large: setup ## measure the memory of every stage at 10,000 and 100,000: memory.json
	.venv/bin/python bench/memory.py memory.json

bench-kills: setup ## kill a screening at KILLS random moments (default 10) and call it again: kills.json
	.venv/bin/python bench/kills.py kills.json $(KILLS)

lint: setup ## check style, types and the workflow
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/snakefmt --check Snakefile workflow
	.venv/bin/snakemake --lint

format: setup ## rewrite the code in the project's style
	.venv/bin/ruff check --fix
	.venv/bin/ruff format
	.venv/bin/snakefmt Snakefile workflow

lock: setup ## resolve requirements*.in into the locks and envs/ (UPGRADE=1: newest versions)
	tools/lock .venv/bin/uv

clean: ## delete results/ (the cache, the weights and .venv stay)
	rm -rf results
