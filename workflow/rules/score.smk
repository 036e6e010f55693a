rule score:
    """PROBE's answer for one shard, from the cache."""
    input:
        conformers="results/{library}/conformers/{shard}.parquet",
        embedded="results/{library}/embedded/{shard}.parquet",
        card=checkpoint(card.CARD),
        tensors=checkpoint(card.WEIGHTS),
        held_out=checkpoint(card.HELD_OUT),
    output:
        "results/{library}/scores/{shard}.parquet",
    log:
        "logs/{library}/score/{shard}.log",
    benchmark:
        "benchmarks/{library}/score/{shard}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: threads_of_shard
    resources:
        mem_mb=lambda wildcards, attempt: 6000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        checkpoint=subpath(input.card, parent=True),
        cache=config["cache"],
    shell:
        "probe score {input.conformers:q} {input.embedded:q}"
        " --checkpoint {params.checkpoint:q} --cache {params.cache:q} --device cpu"
        " --out {output:q} > {log:q} 2>&1"
