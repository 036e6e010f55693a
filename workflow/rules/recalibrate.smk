localrules:
    recalibrate,


RECALIBRATED = f"models/recalibrated/{config['backbone']}"


rule refit:
    """PROBE fitted to what the libraries gained as well, and whether it is promoted."""
    input:
        labels=fitted_to,
        gained=[
            f"results/{name}/dft_labels.parquet"
            for name, library in LIBRARIES.items()
            if library.backbone == config["backbone"]
        ],
        weights=expand("models/weights/{name}.json", name=ENSEMBLE),
        card=checkpoint(card.CARD),
        tensors=checkpoint(card.WEIGHTS),
        held_out=checkpoint(card.HELD_OUT),
    output:
        record=f"{RECALIBRATED}/promotion.json",
    log:
        "logs/refit.log",
    benchmark:
        "benchmarks/refit.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        folder=subpath(output.record, parent=True),
        gained=lambda wildcards, input: [
            word for path in input.gained for word in ("--gained", path)
        ],
        checkpoint=config["checkpoint"],
        cache=config["cache"],
        device=config["device"],
        options=flags("recalibrate"),
    shell:
        "probe recalibrate --checkpoint {params.checkpoint:q} --labels {input.labels:q}"
        " {params.gained:q} --out {params.folder:q} --cache {params.cache:q}"
        " --device {params.device} {params.options:q} > {log:q} 2>&1"


rule recalibrate:
    """One turn: what was recomputed is learnt from, and every library rescored if that helps."""
    input:
        record=f"{RECALIBRATED}/promotion.json",
        # what the rescreening is compared with
        finished=expand("results/{library}/finished", library=LIBRARIES),
    log:
        "logs/recalibrate.log",
    conda:
        "../../envs/cpu.yaml"
    threads: 64
    params:
        python=sys.executable,
        chosen='import json, sys; print(json.load(open(sys.argv[1]))["checkpoint"])',
        snakefile=workflow.main_snakefile,
        folder=subpath(input.record, parent=True),
        profile=profile(sys.argv),
        settings=settings(),
    shell:
        # lists and scores are what this turn came from, so a workflow of its own, within the
        # lock of this one, replaces them; words could not hold the settings: a library may
        # have any name, and the folder no configuration
        "checkpoint=$({params.python:q} -c {params.chosen:q} {input.record:q}) &&"
        " printf %s {params.settings:q} > {params.folder:q}/settings.json &&"
        " {params.python:q} -m snakemake rescreen --snakefile {params.snakefile:q} --nolock"
        " --cores {threads} {params.profile:q} --configfile {params.folder:q}/settings.json"
        ' --config checkpoint="$checkpoint" 2>&1 | tee {log:q}'
