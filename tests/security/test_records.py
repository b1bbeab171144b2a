"""Records that somebody sent, every text of them hostile: text in each format, and never a path, a tag or a formula.

The site's pages are in tests/site (test_build.py, test_images.py, test_compare.py), where a browser looks at them, too.
"""

from __future__ import annotations

import csv
import html.parser
import re

import pytest
from typer.testing import CliRunner

from splatbench.cli import app
from splatbench.record import Record, write_records
from splatbench.report.build import build, tables_text
from splatbench.report.csv_text import as_text
from splatbench.report.settings import ReportSettings
from splatbench.results.export import write_csv, write_latex
from tests.site.synthetic import synthetic_records

csv.field_size_limit(1 << 24)

PAYLOADS = {
    "html": "<script>alert(1)</script>\"'--><img src=x onerror=alert(2)>&amp;",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "link": "[click](javascript:alert(1)) ![x](http://x.example/y.png) `code` | cell |\n# heading\n- item",
    "latex": "\\input{/etc/passwd}\\write18{touch owned}%$#_^~&{}",
    "formula": "=cmd|' /C calc'!A0",
    "path": "../../../../etc/passwd\x00/owned",
    "terminal": "\x1b[2J\x1b]0;owned\x07\r\x08\u202egnp.exe",
    "rich": "[red]x[/red] [link=file:///etc/passwd]y[/link] [/]",
    "template": "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "long": "x" * 40_000,
}
#: Every field of a record that holds free text.
FIELDS = (
    "experiment",
    "dataset",
    "image",
    "entry",
    "method",
    "title",
    "family",
    "budget_slug",
    "snapshot",
    "matched_to",
)
PROVENANCE = ("version", "device", "gpu", "driver", "cpu", "commit")


def hostile(payload: str) -> list[Record]:
    """A few records of one experiment, successes and failures, with the payload wherever text may be."""
    records = [record for record in synthetic_records(60) if record.column != "control"][:6]
    made = []
    for number, record in enumerate(records):
        text = dict.fromkeys(FIELDS, payload) | {"image": f"{payload}{number}", "notes": [payload]}
        text["snapshot"] = "final"
        provenance = record.provenance.model_copy(
            update=dict.fromkeys(PROVENANCE, payload) | {"versions": {payload: payload}}
        )
        update = text | {
            "provenance": provenance,
            "config": {payload: payload},
            "metrics_not_run": {"lpips_vgg": payload},
        }
        if number % 3 == 2:
            update |= {"status": "failed", "reason": payload, "metrics": {}}
        made.append(record.model_copy(update=update))
    return made


class Elements(html.parser.HTMLParser):
    """Tags and attributes of a page as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module", params=PAYLOADS)
def report(request, tmp_path_factory):
    """(the payload, the folder of the whole report)."""
    out = tmp_path_factory.mktemp("report") / "out"
    build(hostile(PAYLOADS[request.param]), ReportSettings(), out)
    return PAYLOADS[request.param], out


def test_the_page_has_no_element_of_theirs(report):
    _, out = report
    tags = Elements((out / "index.html").read_text()).tags
    assert [tag for tag, _ in tags].count("script") == 0
    for tag, attributes in tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("href", "src"):
            address = attributes.get(name) or ""
            if tag == "a" and name == "href":
                assert re.match(r"#|https://|[\w./-]+$", address), address
            else:
                assert not re.match(r"\s*(javascript|data:text|file|http:)", address, re.I), address


def test_files_stay_below_the_folder_with_plain_names(report):
    _, out = report
    names = [str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()]
    assert len(names) > 5
    assert all(re.fullmatch(r"[A-Za-z0-9._/-]{1,200}", name) and ".." not in name for name in names), names
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_markdown_is_text(report):
    _, out = report
    text = (out / "tables.md").read_text()
    assert not re.search(r"<(?!br)[a-zA-Z/!]", text)
    assert not re.search(r"(?<!\\)\]\(", text)  # no link
    assert "\n# heading" not in text and "\n- item" not in text and "\x1b" not in text


def test_latex_runs_nothing(report):
    _, out = report
    text = (out / "tables.tex").read_text()
    for command in ("\\input", "\\write", "\\include", "\\openout", "\\immediate", "\\catcode", "\\def", "^^"):
        assert command not in text.replace("\\includegraphics", "")


def test_csv_has_no_formula(report):
    _, out = report
    for path in out.rglob("*.csv"):
        with open(path, newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert cells
        assert [cell for cell in cells if cell != as_text(cell)] == [], path


@pytest.mark.parametrize("name", PAYLOADS)
def test_exports(tmp_path, name):
    records = hostile(PAYLOADS[name])
    write_csv(records, tmp_path / "a.csv")
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(records)
    assert all(cell == as_text(cell) for row in rows for cell in row.values())
    write_latex(records, tmp_path / "a.tex")
    assert "\\input" not in (tmp_path / "a.tex").read_text()


@pytest.mark.parametrize("name", PAYLOADS)
def test_what_is_printed_controls_no_terminal(tmp_path, name):
    path = tmp_path / "sent.jsonl"
    write_records(path, hostile(PAYLOADS[name]))
    for command in (
        ["results", "validate", str(path)],
        ["results", "merge", str(path), "-o", str(tmp_path / "o.jsonl")],
    ):
        shown = CliRunner().invoke(app, command)
        assert not isinstance(shown.exception, Exception) or isinstance(shown.exception, SystemExit), shown.exception
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown.output), command


def test_tables_as_csv_keep_their_lines():
    text = tables_text(hostile(PAYLOADS["link"]), ReportSettings(), "csv")
    first, second, *_ = text.splitlines()
    assert first.startswith("# [click]") and "# heading - item" in first and second.startswith("method,")


FORMULAS = ["=1+1", "+1+cmd", "-2+3+cmd|x", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x")']


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_become_text(text):
    assert as_text(text) == f"'{text}".replace("\r", "\n")


@pytest.mark.parametrize("value", ["plain", "", "'quoted", "-1.5", "+2", "-1e-3", 1.5, -2, None, True, "a=b", "inf"])
def test_anything_else_stays(value):
    assert as_text(value) is value
