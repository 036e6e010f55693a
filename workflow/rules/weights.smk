localrules:
    weights,


rule weights:
    """Fetch the backbone on the node that submits: compute nodes may have no network."""
    output:
        "models/weights/{backbone}.json",
    log:
        "logs/weights/{backbone}.log",
    benchmark:
        "benchmarks/weights/{backbone}.tsv"
    conda:
        "../../envs/cpu.yaml"
    shell:
        "probe weights fetch {wildcards.backbone:q} --json > {output:q} 2> {log:q}"
