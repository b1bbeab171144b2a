REPORT = Path("reports") / PLAN.experiment.name / "index.html"
_REPORTS = Path(workflow.basedir, "reports")
_SHOWN = {"experiment": PLAN.experiment.name}


localrules:
    report,


rule report:
    """Tables, figures, pictures and the page. Templates and the papers' numbers are inputs: they may change, too."""
    input:
        records=RESULTS / "records.jsonl",
        templates=sorted(map(str, _REPORTS.glob("templates/*.j2"))),
        references=sorted(map(str, _REPORTS.glob("reference/*.yaml"))),
    output:
        # What `snakemake --report` shows, with captions.
        report(
            REPORT,
            caption="captions/page.rst",
            category="Results",
            labels={**_SHOWN, "what": "page"},
        ),
        report(
            REPORT.with_name("images.csv"),
            caption="captions/images.rst",
            category="Results",
            labels={**_SHOWN, "what": "every result"},
        ),
        report(
            directory(REPORT.with_name("tables")),
            patterns=["{table}.csv"],
            caption="captions/table.rst",
            category="Tables",
            labels={**_SHOWN, "table": "{table}"},
        ),
        report(
            directory(REPORT.with_name("figures")),
            patterns=["{figure}.svg"],
            caption="captions/figure.rst",
            category="Figures",
            labels={**_SHOWN, "figure": "{figure}"},
        ),
        report(
            directory(REPORT.with_name("pictures")),
            patterns=["{picture}.webp"],
            caption="captions/picture.rst",
            category="Pictures",
            labels={**_SHOWN, "picture": "{picture}"},
        ),
        REPORT.with_name("tables.md"),
        REPORT.with_name("tables.tex"),
    log:
        RESULTS / "logs" / "report.log",
    threads: 1
    shell:
        FLOW.shell("report build --log {log:q}")
