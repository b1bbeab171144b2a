REPORT = Path("reports") / PLAN.experiment.name / "index.html"
_REPORTS = Path(workflow.basedir, "reports")


rule report:
    """Tables, figures, pictures and the page. Templates and the papers' numbers are inputs: they may change, too."""
    input:
        records=RESULTS / "records.jsonl",
        templates=sorted(map(str, _REPORTS.glob("templates/*.j2"))),
        references=sorted(map(str, _REPORTS.glob("reference/*.yaml"))),
    output:
        REPORT,
        REPORT.with_name("tables.md"),
        REPORT.with_name("tables.tex"),
        REPORT.with_name("images.csv"),
    log:
        RESULTS / "logs" / "report.log",
    threads: 1
    shell:
        FLOW.shell("report build --log {log:q}")
