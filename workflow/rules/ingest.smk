localrules:
    reuse,


rule ingest:
    """Records of one shard into 3D conformers, or into rejects with their reasons."""
    input:
        library=files_of_shard,
        plan="results/{library}/plan.json",
        # nothing here reads them: they are fetched before the first job is submitted
        weights=ancient(weights_of),
    output:
        conformers="results/{library}/conformers/{shard}.parquet",
        rejected="results/{library}/rejects/{shard}.parquet",
    log:
        "logs/{library}/ingest/{shard}.log",
    benchmark:
        "benchmarks/{library}/ingest/{shard}.tsv"
    wildcard_constraints:
        library=one_of(name for name, first in MADE_BY.items() if name == first),
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


rule reuse:
    """One shard as the first row of the table that has the same file made it."""
    input:
        conformers=made_by_first("results/{library}/conformers/{shard}.parquet"),
        rejected=made_by_first("results/{library}/rejects/{shard}.parquet"),
    output:
        conformers="results/{library}/conformers/{shard}.parquet",
        rejected="results/{library}/rejects/{shard}.parquet",
    log:
        "logs/{library}/reuse/{shard}.log",
    benchmark:
        "benchmarks/{library}/reuse/{shard}.tsv"
    wildcard_constraints:
        library=one_of(name for name, first in MADE_BY.items() if name != first),
    conda:
        "../../envs/cpu.yaml"
    shell:
        "{{ cp {input.conformers:q} {output.conformers:q}"
        " && cp {input.rejected:q} {output.rejected:q}; }} > {log:q} 2>&1"
