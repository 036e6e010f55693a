# Scripts run with the Python beside `probe`: another one may come first on the path.


localrules:
    qm9_wheel,


rule qm9_wheel:
    """QM9 as a Python package, on the node that submits; build.py knows its digest."""
    output:
        "models/qm9/qm9pack-1.0.3-py3-none-any.whl",
    log:
        "logs/qm9/wheel.log",
    benchmark:
        "benchmarks/qm9/wheel.tsv"
    conda:
        "../../envs/cpu.yaml"
    params:
        folder=subpath(output[0], parent=True),
    shell:
        '"$(dirname "$(command -v probe)")/python" '
        "-m pip download --no-deps qm9pack==1.0.3 --dest {params.folder:q} > {log:q} 2>&1"


rule qm9:
    """The sets of molecules that resources/qm9 works with."""
    input:
        "models/qm9/qm9pack-1.0.3-py3-none-any.whl",
    output:
        expand(
            "models/qm9/{set}.parquet",
            set=("train", "valid", "labelled", "pool", "held_out"),
        ),
    log:
        "logs/qm9/build.log",
    benchmark:
        "benchmarks/qm9/build.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 2000 * attempt,
        runtime=lambda wildcards, attempt: 30 * attempt,
    params:
        folder=subpath(output[0], parent=True),
    shell:
        '"$(dirname "$(command -v probe)")/python" '
        "resources/qm9/build.py {input:q} {params.folder:q} > {log:q} 2>&1"


rule active_learning_seed:
    """One seed of the experiment; its steps stay in the folder, so a killed job goes on."""
    input:
        rules.qm9.output,
    output:
        touch("models/active-learning/seed-{seed}.done"),
    log:
        "logs/active-learning/{seed}.log",
    benchmark:
        "benchmarks/active-learning/{seed}.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 720 * attempt,
    params:
        sets=subpath(input[0], parent=True),
        folder=subpath(output[0], parent=True),
    shell:
        '"$(dirname "$(command -v probe)")/python" '
        "resources/qm9/active_learning.py {params.sets:q} {params.folder:q}"
        " {wildcards.seed} > {log:q} 2>&1"


rule active_learning:
    """What to label next: PROBE, an ensemble's spread and chance, side by side."""
    input:
        sets=rules.qm9.output,
        seeds=expand("models/active-learning/seed-{seed}.done", seed=range(3)),
    output:
        record="models/active-learning/result.json",
        table="models/active-learning/result.md",
        figures=multiext("models/active-learning/active-learning", ".svg", ".png"),
    log:
        "logs/active-learning/result.log",
    benchmark:
        "benchmarks/active-learning/result.tsv"
    conda:
        "../../envs/cpu.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 4000 * attempt,
        runtime=lambda wildcards, attempt: 60 * attempt,
    params:
        sets=subpath(input[0], parent=True),
        folder=subpath(output.record, parent=True),
    shell:
        '"$(dirname "$(command -v probe)")/python" '
        "resources/qm9/active_learning.py {params.sets:q} {params.folder:q}"
        " > {log:q} 2>&1"
