rule triage:
    """Every conformer of a library into accept or recompute, and the counts."""
    input:
        plan="results/{library}/plan.json",
        conformers=shards("results/{library}/conformers/{shard}.parquet"),
        rejected=shards("results/{library}/rejects/{shard}.parquet"),
        scores=shards("results/{library}/scores/{shard}.parquet"),
        card=checkpoint(card.CARD),
        held_out=(
            checkpoint(card.HELD_OUT) if config["triage"]["policy"] == "risk" else []
        ),
    output:
        accept="results/{library}/accept.parquet",
        recompute="results/{library}/recompute.parquet",
        molecules="results/{library}/molecules.parquet",
        rejected="results/{library}/rejected.parquet",
        sdf="results/{library}/recompute.sdf",
        summary="results/{library}/summary.json",
    log:
        "logs/{library}/triage.log",
    benchmark:
        "benchmarks/{library}/triage.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        folder=subpath(output.summary, parent=True),
        checkpoint=subpath(input.card, parent=True),
        policy=flags("triage"),
    shell:
        "probe triage {params.folder:q} --checkpoint {params.checkpoint:q}"
        " {params.policy:q} > {log:q} 2>&1"
