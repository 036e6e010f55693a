# `snakemake` at the root runs the workflow; its default target is rule `all` of this file.
include: "workflow/Snakefile"


workflow.default_target = "all"  # an include keeps its own default to itself
