rule agreement:
    """Where screenings of one file with different networks agree, and where they do not."""
    input:
        plans=in_each("results/{library}/plan.json"),
        conformers=conformers_of_each,
        accept=in_each("results/{library}/accept.parquet"),
        recompute=in_each("results/{library}/recompute.parquet"),
        summaries=in_each("results/{library}/summary.json"),
    output:
        table="results/{screenings}/agreement.parquet",
        record="results/{screenings}/agreement.json",
        page=report(
            "results/{screenings}/agreement.html",
            caption="../report/agreement.rst",
            category="{screenings}",
        ),
    log:
        "logs/{screenings}/agreement.log",
    benchmark:
        "benchmarks/{screenings}/agreement.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 12000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        screened=in_each("results/{library}"),
        folder=subpath(output.record, parent=True),
    shell:
        "probe agree {params.screened:q} --out {params.folder:q} > {log:q} 2>&1"
