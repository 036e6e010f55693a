rule train:
    """A PROBE checkpoint from the configured labels, beside the shipped one, not over it."""
    input:
        labels=config["labels"],
        weights=f"models/weights/{config['backbone']}.json",
    output:
        card=f"models/probe/{config['backbone']}/{card.CARD}",
        weights=f"models/probe/{config['backbone']}/{card.WEIGHTS}",
        held_out=f"models/probe/{config['backbone']}/{card.HELD_OUT}",
    log:
        "logs/train.log",
    benchmark:
        "benchmarks/train.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 240 * attempt,
    params:
        folder=subpath(output.card, parent=True),
        backbone=config["backbone"],
        cache=config["cache"],
        device=config["device"],
    shell:
        "probe train --labels {input.labels:q} --backbone {params.backbone:q}"
        " --cache {params.cache:q} --device {params.device} --out {params.folder:q}"
        " > {log:q} 2>&1"


rule evaluate:
    """The configured checkpoint against the configured test labels."""
    input:
        labels=config["test_labels"] or [],
        weights=f"models/weights/{config['backbone']}.json",
        card=CHECKPOINT / card.CARD,
        tensors=CHECKPOINT / card.WEIGHTS,
    output:
        metrics="models/evaluation/metrics.json",
        predictions="models/evaluation/predictions.parquet",
    log:
        "logs/evaluate.log",
    benchmark:
        "benchmarks/evaluate.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        folder=subpath(output.metrics, parent=True),
        checkpoint=subpath(input.card, parent=True),
        cache=config["cache"],
        device=config["device"],
    shell:
        "probe evaluate --labels {input.labels:q} --checkpoint {params.checkpoint:q}"
        " --cache {params.cache:q} --device {params.device} --out {params.folder:q}"
        " > {log:q} 2>&1"
