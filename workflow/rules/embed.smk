rule embed:
    """Backbone energies and embeddings of one shard; what the cache holds is not computed."""
    input:
        conformers="results/{library}/conformers/{shard}.parquet",
        weights=weights_of,
    output:
        "results/{library}/embedded/{shard}.parquet",
    log:
        "logs/{library}/embed/{shard}.log",
    benchmark:
        "benchmarks/{library}/embed/{shard}.tsv"
    conda:
        "../../envs/cuda.yaml"
    threads: threads_of_shard
    resources:
        gpu=1,
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        backbone=backbone,
        cache=config["cache"],
        device=config["device"],
        options=flags("embed"),
    shell:
        "probe embed {input.conformers:q} --backbone {params.backbone:q}"
        " --cache {params.cache:q} --device {params.device} {params.options:q}"
        " --out {output:q} > {log:q} 2>&1"
