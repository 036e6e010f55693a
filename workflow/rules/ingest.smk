rule ingest:
    """Records of one shard into 3D conformers, or into rejects with their reasons."""
    input:
        library=library_file,
        plan="results/{library}/plan.json",
        # nothing here reads them: they are fetched before the first job is submitted
        weights=ancient(f"models/weights/{config['backbone']}.json"),
    output:
        conformers="results/{library}/conformers/{shard}.parquet",
        rejected="results/{library}/rejects/{shard}.parquet",
    log:
        "logs/{library}/ingest/{shard}.log",
    benchmark:
        "benchmarks/{library}/ingest/{shard}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        options=flags("ingest"),
        shard=lambda wildcards: int(wildcards.shard),
    shell:
        "probe ingest --plan {input.plan:q} --shard {params.shard} --jobs {threads}"
        " --conformers {output.conformers:q} --rejected {output.rejected:q}"
        " {params.options:q} > {log:q} 2>&1"
