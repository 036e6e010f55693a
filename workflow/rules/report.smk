rule report:
    """One HTML file on a triaged library, and its figures alone."""
    input:
        plan="results/{library}/plan.json",
        conformers=shards("results/{library}/conformers/{shard}.parquet"),
        scores=shards("results/{library}/scores/{shard}.parquet"),
        embedded=shards("results/{library}/embedded/{shard}.parquet"),
        accept="results/{library}/accept.parquet",
        recompute="results/{library}/recompute.parquet",
        rejected="results/{library}/rejected.parquet",
        summary="results/{library}/summary.json",
        changes="results/{library}/changes.json",
        changed="results/{library}/changes.parquet",
        card=checkpoint(card.CARD),
        references=config["report"]["references"] or [],
    output:
        page=report(
            "results/{library}/report.html",
            caption="../report/report.rst",
            category="{library}",
        ),
        map="results/{library}/map.parquet",
        decision=report(
            "results/{library}/figures/decision.svg",
            caption="../report/decision.rst",
            category="{library}",
        ),
        umap=report(
            "results/{library}/figures/umap.svg",
            caption="../report/umap.rst",
            category="{library}",
        ),
        elements=report(
            "results/{library}/figures/elements.svg",
            caption="../report/elements.rst",
            category="{library}",
        ),
        enrichment=report(
            "results/{library}/figures/enrichment.svg",
            caption="../report/enrichment.rst",
            category="{library}",
        ),
        motifs=report(
            "results/{library}/figures/motifs.svg",
            caption="../report/motifs.rst",
            category="{library}",
        ),
        descriptors=report(
            "results/{library}/figures/descriptors.svg",
            caption="../report/descriptors.rst",
            category="{library}",
        ),
        reliability=report(
            "results/{library}/figures/reliability.svg",
            caption="../report/reliability.rst",
            category="{library}",
        ),
    log:
        "logs/{library}/report.log",
    benchmark:
        "benchmarks/{library}/report.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 120 * attempt,
    params:
        folder=subpath(output.page, parent=True),
        figures=subpath(output.umap, parent=True),
        checkpoint=subpath(input.card, parent=True),
        cache=config["cache"],
        options=flags("report"),
    shell:
        "probe report {params.folder:q} --checkpoint {params.checkpoint:q}"
        " --figures {params.figures:q} --cache {params.cache:q} {params.options:q}"
        " --out {output.page:q} > {log:q} 2>&1"
