"""One table in three formats: nothing from a file may break out of its cell."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splatbench.record import Record
from splatbench.report.aggregate import summarise
from splatbench.report.content import result_tables
from splatbench.report.csv_text import as_text
from splatbench.report.labels import MISSING, budget_label, count, number, signed, significant
from splatbench.report.settings import ReportSettings
from splatbench.report.tables import Cell, Column, Table, escape_latex, text_cell, to_csv, to_latex, to_markdown


def table(*texts: str) -> Table:
    columns = [Column("name", "Name"), Column("psnr", "PSNR [dB] ↑", True)]
    return Table(
        "t", "A & B: 50 %", columns, [[text_cell(t), Cell("26.98", 26.9812345)] for t in texts], ["± means <std>"]
    )


def test_markdown_cells_stay_in_their_cells() -> None:
    text = to_markdown(table("a|b", "x\ny", "<script>alert(1)</script>", "*bold*", "[link](javascript:x)", "`code`"))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 6
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 3 for line in rows)
    assert "<script" not in text and "&lt;script&gt;" in text
    assert r"\*bold\*" in text and r"\[link\]" in text and r"\`code\`" in text


@given(st.text(max_size=30))
def test_markdown_has_one_line_per_row_whatever_the_name(name: str) -> None:
    text = to_markdown(table(name))
    body = text[text.index("| Name") :]
    rows = body.split("\n")[:3]
    assert all(len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3 for line in rows), rows


@given(st.text(max_size=30).filter(lambda t: "\x00" not in t))
def test_csv_reads_back_unrounded(name: str) -> None:
    rows = list(csv.reader(io.StringIO(to_csv(table(name)), newline="")))
    assert rows == [["name", "psnr"], [as_text(name), "26.9812345"]]
    assert as_text(name).removeprefix("'").split() == name.removeprefix("'").split()


def test_csv_of_missing_values_is_empty_not_a_dash() -> None:
    one = Table("t", "T", [Column("a", "A"), Column("b", "B")], [[Cell(MISSING), Cell("not run", None)]])
    assert to_csv(one) == "a,b\n,\n"


def test_latex_escapes_every_special_character() -> None:
    text = to_latex(table(r"50 % of $5 & {x}_y #1 ~ ^ \input{/etc/passwd} <a>"))
    assert r"50 \% of \$5 \& \{x\}\_y \#1" in text
    assert r"\input{" not in text and r"\textbackslash" in text
    assert r"\caption{A \& B: 50 \%}" in text and r"$\uparrow$" in text and r"$\pm$ means" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert "booktabs" not in text and r"\toprule" in text


@given(st.text(alphabet="\\{}$&#^_~%<>ab ", max_size=20))
def test_latex_text_has_balanced_braces_and_no_bare_specials(name: str) -> None:
    text = escape_latex(name)
    bare = re.sub(r"\\text[a-z]+\{\}", "", text)
    bare = re.sub(r"\\[&%$#_{}]", "", bare)
    assert not set(bare) & set("\\{}$&#^_~%<>")


def test_empty_columns_go_but_kept_ones_stay() -> None:
    one = Table(
        "t", "T", [Column("a", "A"), Column("b", "B"), Column("c", "C")], [[Cell("1", 1), Cell("–"), Cell("–")]]
    )
    assert [c.key for c in one.without_empty_columns(keep=("b",)).columns] == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "name", "text"),
    [
        (26.984, "psnr", "26.98"),
        (0.91449, "ms_ssim", "0.9145"),
        (28000, "n_actual", "28\u202f000"),
        (-3.2, "psnr", "−3.20"),
        (None, "psnr", MISSING),
        (0.00142, "encode_seconds", "0.00142"),
        (1499.6, "encode_seconds", "1\u202f500"),
        (0.0, "decode_seconds", "0"),
    ],
)
def test_numbers(value: float | None, name: str, text: str) -> None:
    assert number(value, name) == text


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (16262.5, 0, "16\u202f263"),
        (16263.5, 0, "16\u202f264"),
        (0.125, 2, "0.13"),
        (-0.125, 2, "−0.13"),
        (2.675, 2, "2.67"),  # a little less than 2.675 in floating point
        (-0.001, 2, "0.00"),
    ],
)
def test_halves_are_rounded_as_the_scripts_of_the_site_do(value: float, digits: int, text: str) -> None:
    """tests/site/test_compare.py holds `splatbench.number` of the browser to it."""
    assert number(value, "x", {"x": digits}) == text
    if digits == 0:
        assert count(value) == text


def test_digits_can_be_chosen() -> None:
    assert number(26.98764, "psnr", {"psnr": 4}) == "26.9876"


@pytest.mark.parametrize(
    ("value", "text"), [(0.02, "+0.02"), (-0.02, "−0.02"), (0.001, "0"), (-0.001, "0"), (None, MISSING)]
)
def test_deviations_have_a_sign_unless_they_round_to_nothing(value: float | None, text: str) -> None:
    assert signed(value, "psnr") == text


@given(st.floats(1e-6, 1e7))
def test_times_keep_three_significant_digits(value: float) -> None:
    shown = float(significant(value).replace("\u202f", ""))
    assert shown == pytest.approx(value, rel=0.0051)


def test_budgets() -> None:
    assert budget_label({"gaussians": 28000, "iterations": 800}) == "N = 28\u202f000, 800 iterations"
    assert budget_label({"compression_ratio": 50.0, "seconds": 60.0}) == "CR 50, at most 60 s"
    assert [budget_label(b) for b in ({"bpp": 0.5}, {"quality": 75}, {"matched_to": "air"}, {"native": True})] == [
        "0.5 bit/pixel", "quality 75", "counts of air", "native",
    ]  # fmt: skip
    warm = {"matched_to": "air", "warm": True, "iterations": 500}
    assert budget_label(warm) == "counts of air, from its Gaussians, 500 iterations"


# -- the tables of an experiment ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(experiment_records: list[Record]) -> dict[str, Table]:
    from splatbench.report.aggregate import summarise

    return {t.id: t for t in result_tables(summarise(experiment_records), ReportSettings())}


def test_tracks_and_controls_are_separate_tables(tables: dict[str, Table]) -> None:
    assert set(tables) == {"kodak-gaussians", "kodak-controls", "div2k-valid-x2-gaussians"}
    methods = {row[1].text for row in tables["kodak-gaussians"].rows}
    assert not methods & {"JPEG", "Gaussians at random", "Identity (lossless PNG)"}


def test_columns_say_real_and_nominal_rate_times_and_completeness(tables: dict[str, Table]) -> None:
    keys = [column.key for column in tables["kodak-gaussians"].columns]
    assert {
        "order",
        "n",
        "psnr",
        "lpips_vgg",
        "bpp",
        "nominal_bpp",
        "encode_seconds",
        "decode_seconds",
        "images",
    } <= set(keys)
    row = next(r for r in tables["kodak-gaussians"].rows if "RS" in r[1].text and r[2].text == "corrected")
    cells = dict(zip(keys, row, strict=True))
    assert cells["images"].text == "22 of 24" and cells["images"].kind == "partial"
    assert cells["lpips_vgg"].text == "not run" and "splatbench weights fetch" in cells["lpips_vgg"].hint
    assert cells["note"].text == "diverged: 1; out of memory: 1"
    assert cells["bpp_ratio"].value == pytest.approx(24 / cells["bpp"].value)


def test_controls_are_not_sorted_by_their_qualities(record) -> None:
    """Quality 50 of one codec has nothing to do with quality 50 of another."""
    records = [
        record(entry=codec, title=codec, family=codec, column="control", budget={"quality": quality}, n_target=None)
        for codec in ("jpeg", "webp")
        for quality in (10, 50)
    ]
    (table,) = result_tables(summarise(records), ReportSettings())
    shown = [(row[0].text, row[1].text) for row in table.rows]
    assert shown == [(c, f"quality {q}") for c in ("jpeg", "webp") for q in (10, 50)]


def test_compression_ratios_are_those_of_the_mean_rates(record) -> None:
    """7 bytes per Gaussian at N = 3HW / (7 CR) is CR by the count, whatever a method calls its nominal rate; the file
    may be another."""
    pixels = 512 * 768
    records = [
        record(image=str(i), bytes=size, n_actual=3370, nominal_bpp=1.0) for i, size in enumerate((20000, 30000))
    ]
    (table,) = result_tables(summarise(records), ReportSettings())
    cells = dict(zip([column.key for column in table.columns], table.rows[0], strict=True))
    assert cells["bpp_ratio"].value == pytest.approx(3 * pixels / 25000) and cells["bpp_ratio"].text == "47.2"
    assert cells["nominal_ratio"].value == pytest.approx(50, rel=1e-3)


def test_rows_off_target_say_why_they_have_no_rank(tables: dict[str, Table]) -> None:
    row = next(r for r in tables["kodak-gaussians"].rows if r[1].text == "Self-counting method")
    assert row[0].text == MISSING and "off its target (kodim03.png)" in row[-1].text


def test_the_order_claims_no_more_than_an_order_of_means(tables: dict[str, Table]) -> None:
    table = tables["kodak-gaussians"]
    assert table.columns[0].heading == "Order by PSNR"
    assert "not a claim that differences are significant" in table.columns[0].hint
    assert sum("not a claim that differences are significant" in note for note in table.notes) == 1
    assert not re.search("rank", to_markdown(table), re.IGNORECASE)


def test_single_errors_of_published_code_take_no_part_in_the_order(record) -> None:
    values = {"whole": (26.0, {}), "one": (30.0, {"preset": "corrected"}), "corrected": (27.0, {"preset": "corrected"})}
    records = [
        record(
            entry=entry,
            family=entry,
            config=config,
            config_hash=entry,
            column="corrected" if entry == "corrected" else "published",
            metrics={"psnr": psnr},
        )
        for entry, (psnr, config) in values.items()
    ]
    (table,) = result_tables(summarise(records), ReportSettings())
    order = [(row[1].text, row[0].text) for row in table.rows]
    assert order == [("corrected", "1"), ("whole", "2"), ("one", MISSING)]
    assert table.rows[2][-1].text.endswith("repeats single errors of the published code: no contender")


def test_means_on_shared_images_stand_beside_own_means(tables: dict[str, Table]) -> None:
    keys = [column.key for column in tables["kodak-gaussians"].columns]
    rows = [dict(zip(keys, row, strict=True)) for row in tables["kodak-gaussians"].rows]
    full = next(r for r in rows if r["method"].text == "GaussianImage (Cholesky)" and r["n"].value == 28000)
    assert full["psnr_common"].value != pytest.approx(full["psnr"].value)
    assert "N = 28\u202f000: ordered on 22 shared images." in tables["kodak-gaussians"].notes


def test_two_data_sets_with_similar_names_do_not_share_a_table(record: object) -> None:
    from splatbench.report.aggregate import summarise

    assert callable(record)
    made = result_tables(summarise([record(dataset="My set"), record(dataset="my-set")]), ReportSettings())
    assert [t.id for t in made] == ["my-set-gaussians", "my-set-2-gaussians"]


def test_the_command_prints_tables_from_records_alone(tmp_path: Path, experiment_records: list[Record]) -> None:
    from typer.testing import CliRunner

    from splatbench.cli.report import app
    from splatbench.record import write_records

    path = tmp_path / "records.jsonl"
    write_records(path, experiment_records)
    shown = {f: CliRunner().invoke(app, ["tables", str(path), "--format", f]) for f in ("md", "csv", "latex")}
    assert all(result.exit_code == 0 for result in shown.values())
    assert "### AIR, Table I (Kodak)" in shown["md"].stdout and "reproduced" in shown["md"].stdout
    assert r"\begin{tabular}" in shown["latex"].stdout and "# kodak: equal Gaussians\n" in shown["csv"].stdout
    chosen = CliRunner().invoke(app, ["tables", str(path), "--reference", "gaussianimage_paper"])
    assert chosen.exit_code == 0 and "AIR, Table I" not in chosen.stdout


def test_latex_rows_cannot_be_taken_for_arguments_of_the_line_break_before() -> None:
    text = to_latex(table("[3cm] name", "*name"))
    assert "{}[3cm] name" in text and "{}*name" in text


def test_latex_leaves_room_for_the_numbers() -> None:
    """Sentences become notes, each once; what is of lesser interest or empty is left out; the rest fits the page."""
    columns = [
        Column("method", "Method"),
        Column("device", "Device", on_paper="left out"),
        Column("lpips", "LPIPS", True),
        Column("note", "Remarks", on_paper="note"),
    ]
    remarks = ["not run: 50 %", "", "not run: 50 %", "diverged"]
    rows = [[text_cell("m"), text_cell("cpu"), Cell("not run"), text_cell(remark)] for remark in remarks]
    text = to_latex(Table("t", "T", columns, rows, ["Means."]))
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    assert [line.split("&")[1].strip(" \\") for line in body.splitlines()[1:5]] == ["a", "", "a", "b"]
    assert "LPIPS" not in text and "Device" not in text and "cpu" not in text
    notes = [line for line in text.splitlines() if line.startswith(r"\par")]
    assert [note.removeprefix(r"\par\footnotesize ") for note in notes] == [
        r"a: not run: 50 \%", "b: diverged", "Means.",
    ]  # fmt: skip
    assert text.count(r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%") == 1


def test_latex_has_letters_for_any_number_of_notes() -> None:
    columns = [Column("method", "Method"), Column("note", "Remarks", on_paper="note")]
    text = to_latex(Table("t", "T", columns, [[text_cell("m"), text_cell(f"remark {i}")] for i in range(703)]))
    marks = re.findall(r"footnotesize ([a-z]+): remark", text)
    assert len(set(marks)) == 703 and (marks[0], marks[25], marks[26], marks[702]) == ("a", "z", "aa", "aaa")


def test_results_in_latex_do_without_device_memory_and_nominal_rates(tables: dict[str, Table]) -> None:
    table = tables["kodak-gaussians"]
    assert {"Rate, nominal [bit/pixel]", "Peak memory [MiB]"} <= {column.heading for column in table.columns}
    text = to_latex(table)
    assert "nominal [bit" not in text and "Peak memory" not in text and "CR, nominal" not in text
    assert "PSNR [dB]" in text and "Rate, real [bit/pixel]" in text
    assert "a: diverged: 1; out of memory: 1" in text or "b: diverged: 1; out of memory: 1" in text
