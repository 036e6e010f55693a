localrules:
    recompute,
    audit,


rule recompute:
    """The recompute list of every library computed with DFT, and final energies; or decks."""
    input:
        expand(
            (
                "results/{library}/decks"
                if config["recompute"]["engine"] == "export"
                else "results/{library}/energies.parquet"
            ),
            library=LIBRARIES,
        ),


rule audit:
    """Accepted energies of every library, drawn at random, against DFT."""
    input:
        expand("results/{library}/audit.json", library=LIBRARIES),


checkpoint recompute_shards:
    """The recompute list, worst first, in shards of equal estimated cost."""
    input:
        plan="results/{library}/plan.json",
        conformers=shards("results/{library}/conformers/{shard}.parquet"),
        recompute="results/{library}/recompute.parquet",
        card=checkpoint(card.CARD),
    output:
        "results/{library}/dft/plan.parquet",
    log:
        "logs/{library}/recompute_shards.log",
    benchmark:
        "benchmarks/{library}/recompute_shards.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        folder=subpath(input.plan, parent=True),
        checkpoint=subpath(input.card, parent=True),
        options=flags("recompute", "budget_core_hours", "shard_core_hours"),
    shell:
        "probe shards {params.folder:q} --checkpoint {params.checkpoint:q}"
        " {params.options:q} > {log:q} 2>&1"


rule recompute_shard:
    """DFT of one shard; a job that was killed goes on where it was."""
    input:
        plan="results/{library}/dft/plan.parquet",
    output:
        "results/{library}/dft/{shard}.parquet",
    log:
        "logs/{library}/recompute/{shard}.log",
    benchmark:
        "benchmarks/{library}/recompute/{shard}.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 4
    resources:
        gpu=int(config["recompute"]["engine"] == "gpu4pyscf"),
        mem_mb=lambda wildcards, threads, attempt: 5000 * threads * attempt,
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        folder=lambda wildcards: f"results/{wildcards.library}",
        options=flags("recompute", "engine", "store"),
    shell:
        "probe recompute {params.folder:q} --shard {wildcards.shard} --jobs {threads}"
        " {params.options:q} > {log:q} 2>&1"


rule energies:
    """One final energy for every conformer, and what has no DFT energy and why."""
    input:
        plan="results/{library}/plan.json",
        conformers=shards("results/{library}/conformers/{shard}.parquet"),
        accept="results/{library}/accept.parquet",
        recompute="results/{library}/recompute.parquet",
        dft=results_of_shards,
        collected=collected,
        card=checkpoint(card.CARD),
    output:
        energies="results/{library}/energies.parquet",
        failed="results/{library}/dft_failed.parquet",
        counts="results/{library}/recomputed.json",
        labels="results/{library}/dft_labels.parquet",
    log:
        "logs/{library}/energies.log",
    benchmark:
        "benchmarks/{library}/energies.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        folder=subpath(output.energies, parent=True),
        checkpoint=subpath(input.card, parent=True),
    shell:
        "probe energies {params.folder:q} --checkpoint {params.checkpoint:q}"
        " --labels {output.labels:q} > {log:q} 2>&1"


rule decks:
    """Input decks of every shard for another program; its outputs `probe collect` reads."""
    input:
        plan="results/{library}/dft/plan.parquet",
    output:
        directory("results/{library}/decks"),
    log:
        "logs/{library}/decks.log",
    benchmark:
        "benchmarks/{library}/decks.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        folder=subpath(output[0], parent=True),
        program=config["recompute"]["program"],
        options=flags("recompute", "program", "gaussian_route"),
    shell:
        "probe decks {params.folder:q} {params.options:q}"
        " --out {output:q}/{params.program}.tar.gz > {log:q} 2>&1"


rule audit_library:
    """Accepted conformers of one library at random, with DFT, against the triage's promise."""
    input:
        plan="results/{library}/plan.json",
        conformers=shards("results/{library}/conformers/{shard}.parquet"),
        accept="results/{library}/accept.parquet",
        summary="results/{library}/summary.json",
        card=checkpoint(card.CARD),
    output:
        record="results/{library}/audit.json",
        table="results/{library}/audit.parquet",
    log:
        "logs/{library}/audit.log",
    benchmark:
        "benchmarks/{library}/audit.tsv"
    conda:
        "../../envs/cpu.yaml"
    threads: 4
    resources:
        gpu=int(config["recompute"]["engine"] == "gpu4pyscf"),
        mem_mb=lambda wildcards, threads, attempt: 5000 * threads * attempt,
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        folder=subpath(output.record, parent=True),
        checkpoint=subpath(input.card, parent=True),
        sample=flags("audit"),
        store=flags("recompute", "store"),
        engine=config["recompute"]["engine"].replace("export", "pyscf"),
    shell:
        "probe audit {params.folder:q} --checkpoint {params.checkpoint:q} --jobs {threads}"
        " --engine {params.engine} {params.sample:q} {params.store:q} > {log:q} 2>&1"
