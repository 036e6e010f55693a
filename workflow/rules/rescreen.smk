localrules:
    remember,
    rescreen,


rule changes:
    """What is new, gone or judged differently since the last screening, and why."""
    input:
        plan="results/{library}/plan.json",
        conformers=shards("results/{library}/conformers/{shard}.parquet"),
        accept="results/{library}/accept.parquet",
        recompute="results/{library}/recompute.parquet",
        summary="results/{library}/summary.json",
        card=checkpoint(card.CARD),
        tensors=checkpoint(card.WEIGHTS),
        held_out=checkpoint(card.HELD_OUT),
    output:
        table="results/{library}/changes.parquet",
        record="results/{library}/changes.json",
    log:
        "logs/{library}/changes.log",
    benchmark:
        "benchmarks/{library}/changes.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        folder=subpath(output.record, parent=True),
        checkpoint=subpath(input.card, parent=True),
    shell:
        "probe changes find {params.folder:q} --checkpoint {params.checkpoint:q}"
        " > {log:q} 2>&1"


rule remember:
    """A screening that has its report becomes the one that the next is compared with."""
    input:
        record="results/{library}/changes.json",
        accept="results/{library}/accept.parquet",
        recompute="results/{library}/recompute.parquet",
        page="results/{library}/report.html",
    output:
        # the history itself is no output: Snakemake would remove it before it is replaced
        touch("results/{library}/finished"),
    log:
        "logs/{library}/remember.log",
    benchmark:
        "benchmarks/{library}/remember.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        folder=subpath(input.record, parent=True),
    shell:
        "probe changes keep {params.folder:q} > {log:q} 2>&1"


rule rescreen:
    """Every library of table and watched folder up to date, and a line on what changed in each."""
    input:
        finished=expand("results/{library}/finished", library=LIBRARIES),
        pages=expand("results/{screenings}/agreement.html", screenings=AGREEMENTS),
    log:
        "logs/rescreen.log",
    conda:
        "../../envs/cpu.yaml"
    params:
        folders=expand("results/{library}", library=LIBRARIES),
    shell:
        "probe changes show {params.folders:q} 2>&1 | tee {log:q}"
