localrules:
    fetch,


rule fetch:
    """Images are here and verified; what cannot be had becomes rows that say how to get it."""
    output:
        RESULTS / "shards" / "fetch" / "{dataset}-{token}.json",
    log:
        RESULTS / "logs" / "fetch" / "{dataset}-{token}.log",
    params:
        dataset=lambda wildcards: FLOW.dataset(wildcards),
    shell:
        FLOW.shell(
            "fetch-dataset --dataset {params.dataset:q} --log {log:q}", network=True
        )
