rule label:
    """Reference energies of the configured molecules; labels that are there stay."""
    input:
        conformers=required("to_label"),
    output:
        labels=update(f"models/labels/{TO_LABEL}.parquet"),
    log:
        "logs/label.log",
    benchmark:
        "benchmarks/label.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 4
    resources:
        mem_mb=lambda wildcards, threads, attempt: 5000 * threads * attempt,
        runtime=lambda wildcards, attempt: 1440 * attempt,
    params:
        options=flags("ingest"),
    shell:
        "probe label --in {input.conformers:q} --out {output.labels:q} --jobs {threads}"
        " {params.options:q} > {log:q} 2>&1"


rule train:
    """A PROBE checkpoint from the configured labels, beside the shipped one, not over it."""
    input:
        labels=config["labels"],
        weights=expand("models/weights/{name}.json", name=ENSEMBLE),
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


rule model_card:
    """The page of the checkpoint that was trained here."""
    input:
        card=f"models/probe/{config['backbone']}/{card.CARD}",
        held_out=f"models/probe/{config['backbone']}/{card.HELD_OUT}",
    output:
        page=f"models/probe/{config['backbone']}/README.md",
        figures=directory(f"models/probe/{config['backbone']}/figures"),
    log:
        "logs/model_card.log",
    benchmark:
        "benchmarks/model_card.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 15 * attempt,
    params:
        folder=subpath(input.card, parent=True),
    shell:
        "probe card {params.folder:q} > {log:q} 2>&1"


rule evaluate:
    """The configured checkpoint against the configured test labels."""
    input:
        labels=required("test_labels"),
        weights=f"models/weights/{config['backbone']}.json",
        card=checkpoint(card.CARD),
        tensors=checkpoint(card.WEIGHTS),
        held_out=checkpoint(card.HELD_OUT),
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


rule compare:
    """PROBE and its peers side by side on the configured labels; what is there is kept."""
    input:
        labels=config["labels"],
        weights=expand("models/weights/{name}.json", name=ENSEMBLE),
    output:
        record="models/compare/compare.json",
        table="models/compare/compare.md",
        predictions="models/compare/predictions.parquet",
        figures=directory("models/compare/figures"),
    log:
        "logs/compare.log",
    benchmark:
        "benchmarks/compare.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 2
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 600 * attempt,
    params:
        folder=subpath(output.record, parent=True),
        backbone=config["backbone"],
        cache=config["cache"],
        device=config["device"],
        design=(
            "--splits random --splits scaffold --splits element --splits size"
            " --sizes 250 --sizes 500 --sizes 1000 --sizes 2000 --seeds 5 --seeds-dear 3"
        ),
    shell:
        "probe compare --labels {input.labels:q} --backbone {params.backbone:q}"
        " --cache {params.cache:q} --device {params.device} --out {params.folder:q}"
        " {params.design} > {log:q} 2>&1"
