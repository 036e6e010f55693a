localrules:
    acquire,


rule acquire:
    """A batch of every library to label next."""
    input:
        expand(
            "results/{library}/batch.{suffix}",
            library=LIBRARIES,
            suffix=("sdf", "extxyz", "h5"),
        ),


rule batch:
    """What to label next: unreliable, diverse, neither reserved nor labelled already."""
    input:
        plan="results/{library}/plan.json",
        conformers=shards("results/{library}/conformers/{shard}.parquet"),
        scores=shards("results/{library}/scores/{shard}.parquet"),
        accept="results/{library}/accept.parquet",
        recompute="results/{library}/recompute.parquet",
        labelled=config["labels"],
    output:
        sdf="results/{library}/batch.sdf",
        xyz="results/{library}/batch.extxyz",
        hdf5="results/{library}/batch.h5",
    log:
        "logs/{library}/batch.log",
    benchmark:
        "benchmarks/{library}/batch.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        folder=subpath(output.sdf, parent=True),
        options=flags("acquire"),
    shell:
        "probe acquire {params.folder:q} --labelled {input.labelled:q} {params.options:q}"
        " --out {output.sdf:q} --out {output.xyz:q} --out {output.hdf5:q} > {log:q} 2>&1"
