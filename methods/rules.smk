rule encode:
    """One entry on a shard of images, all budgets and seeds. All cores by default: timed jobs never share any."""
    input:
        # Fetching again never means encoding again.
        images=lambda wildcards: ancient(FLOW.fetch_marker(wildcards, workflow.dag)),
        counts=lambda wildcards: [
            ancient(path) for path in FLOW.matched_markers(wildcards)
        ],
    output:
        RESULTS / "shards" / "encode" / "{group}" / "{place}-{token}.json",
    log:
        RESULTS / "logs" / "encode" / "{group}" / "{place}-{token}.log",
    threads: lambda wildcards: FLOW.encode_threads(wildcards, CORES, GPUS)
    resources:
        gpu=lambda wildcards: FLOW.gpus(wildcards),
        mem_mb=lambda wildcards, attempt: FLOW.memory(wildcards, attempt),
    shell:
        FLOW.shell(
            "encode-shard --shard {wildcards.group:q}/{wildcards.place:q} --threads {threads} --log {log:q}"
            + FLOW.retry,
            gpu=True,
        )


rule evaluate:
    """Another process that has the files alone: decodes, renders, measures what is not measured yet."""
    input:
        lambda wildcards: FLOW.encode_marker(wildcards),
    output:
        RESULTS / "shards" / "evaluate" / "{group}" / "{place}-{token}.json",
    log:
        RESULTS / "logs" / "evaluate" / "{group}" / "{place}-{token}.log",
    threads: FLOW.threads("evaluate", CORES)
    resources:
        mem_mb=lambda wildcards, attempt: FLOW.memory(wildcards, attempt),
    shell:
        FLOW.shell(
            "evaluate-shard --shard {wildcards.group:q}/{wildcards.place:q} --threads {threads} --log {log:q}"
            + FLOW.retry
        )


localrules:
    collect,


rule collect:
    """One JSON line per row."""
    input:
        FLOW.experiment_file,
        FLOW.evaluate_markers(),
    output:
        RESULTS / "records.jsonl",
    log:
        RESULTS / "logs" / "collect.log",
    shell:
        FLOW.shell("collect --log {log:q}")
