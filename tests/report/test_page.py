"""The page and what lies beside it: complete, escaped, self-contained, and the same for the same records."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from splatbench.record import Provenance, Record, read_records
from splatbench.report.build import Built, build, make_content
from splatbench.report.page import verdict_counts
from splatbench.report.settings import ReportSettings

Make = Callable[..., Record]

VOID = {"meta", "img", "br", "link", "input", "hr"}
SVG_NS = "{http://www.w3.org/2000/svg}"


class Checker(HTMLParser):
    """Collects tags and attributes, and checks that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parse(path: Path) -> Checker:
    checker = Checker()
    checker.feed(path.read_text())
    checker.close()
    assert checker.open == []
    return checker


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, experiment_records: list[Record]) -> Built:
    return build(
        experiment_records, ReportSettings(), tmp_path_factory.mktemp("report"), title="GaussianImage on Kodak"
    )


def test_the_page_is_well_formed_and_says_what_was_run(built: Built) -> None:
    text = " ".join(parse(built.page).text)
    for part in (
        "GaussianImage on Kodak", "kodak (24 images), div2k_valid_x2 (3 images)",
        "2025-06-01 12:00 to 2025-06-01 12:23 UTC",
        "cpu: Example CPU 3000, 2 cores", "0123456789ab", "reproduced", "not comparable", "equal Gaussians", "controls",
        "loss became nan at step 312 of 800", "splatbench data fetch div2k_valid_x2",
        "splatbench weights fetch lpips_vgg",
        "retry_failed=true", "22 of 24", "10 log10(1 / MSE)", "PSNR 0.1 dB, MS-SSIM 0.005",
    ):  # fmt: skip
        assert part in text, part


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing(built: Built) -> None:
    checker = parse(built.page)
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in checker.tags}
    for tag, attributes in checker.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href", "xlink:href", "action"):
            target = attributes.get(name) or ""
            assert not re.match(r"[a-z]+:|//", target), (tag, target)
    html = built.page.read_text()
    assert "@import" not in html and not re.search(r"url\((?!#)", html)
    assert "default-src 'none'" in html


def test_every_local_link_and_anchor_exists(built: Built) -> None:
    checker = parse(built.page)
    identities = [a["id"] for _, a in checker.tags if a.get("id")]
    assert len(identities) == len(set(identities)), "an id is given twice"
    for _, attributes in checker.tags:
        target = attributes.get("href") or attributes.get("xlink:href") or attributes.get("src")
        if target and target.startswith("#"):
            assert target[1:] in identities, target
        elif target:
            assert (built.page.parent / target).is_file(), target


def test_the_page_is_small_and_every_file_is_named(built: Built) -> None:
    assert sum(file.stat().st_size for file in built.files) < 5_000_000
    assert {file for file in built.page.parent.rglob("*") if file.is_file()} == set(built.files)


def test_records_can_be_read_back(built: Built, experiment_records: list[Record]) -> None:
    assert list(read_records(built.page.with_name("records.jsonl"))) == experiment_records


def test_equal_records_give_equal_bytes(built: Built, experiment_records: list[Record], tmp_path: Path) -> None:
    again = build(experiment_records, ReportSettings(), tmp_path, title="GaussianImage on Kodak")
    for file in built.files:
        assert (tmp_path / file.relative_to(built.page.parent)).read_bytes() == file.read_bytes(), file.name
    assert len(again.files) == len(built.files)


def test_figures_have_units_and_are_valid_svg(built: Built) -> None:
    expected = {
        "kodak-rate.svg": {"PSNR [dB]", "Rate [bit/pixel], file length × 8 / pixels", "JPEG"},
        "kodak-count.svg": {"PSNR [dB]", "N (Gaussians)"},
        "kodak-convergence.svg": {"Iteration", "Training PSNR [dB]"},
        "kodak-time.svg": {"Encode [s]"},
    }
    files = {path.name: path for path in (built.page.parent / "figures").iterdir()}
    assert set(files) == set(expected)
    for name, labels in expected.items():
        texts = {element.text for element in ElementTree.parse(files[name]).iter(f"{SVG_NS}text")}
        assert labels <= texts, (name, labels - texts)
    rate = files["kodak-rate.svg"].read_text()
    assert "Identity" not in rate and "Gaussians at random" not in rate


@pytest.mark.parametrize(
    "evil", ['<script>alert("x")</script>', '"><img src=x onerror=alert(1)>', "{{ 123 * 457 }}", "$\\frac{1}{2}$"]
)
def test_names_from_files_are_only_ever_text(record: Make, tmp_path: Path, evil: str) -> None:
    curve = [(i, float(i), {"psnr": 20.0 + i}) for i in range(1, 4)]
    provenance = Provenance(cpu=evil, cores=2, time="2025-06-01T12:00:00+00:00", commit="ab", versions={evil: evil})
    records = [
        record(image=evil, entry=f"e{i}", family=f"{evil}{i}", title=evil, dataset=evil, curve=curve,
               metrics={"psnr": 30.0 + i, "lpips_vgg": None}, metrics_not_run={"lpips_vgg": evil},
               provenance=provenance)
        for i in range(2)
    ]  # fmt: skip
    records.append(record(image=evil, entry="f", status="failed", reason=evil, dataset=evil, metrics={}, bytes=None))
    made = build(records, ReportSettings(introduction=evil), tmp_path, title=evil)
    checker = parse(made.page)
    assert not {"script"} & {tag for tag, _ in checker.tags}
    assert not any(name.startswith("on") for _, attributes in checker.tags for name in attributes)
    assert evil in "".join(checker.text) and "56211" not in made.page.read_text()
    for figure in (tmp_path / "figures").glob("*.svg"):
        ElementTree.parse(figure)


def test_metrics_missing_weights_and_pictures_are_said(built: Built) -> None:
    html = built.page.read_text()
    assert "Metrics that were not run" in html
    assert "made from records alone; the encoded files are not here" in html


def test_uncommitted_changes_and_disturbed_times_are_marked(record: Make, tmp_path: Path) -> None:
    provenance = Provenance(
        commit="f" * 40, dirty=True, cpu="C", cores=2, load_average=7.5, time="2025-06-01T12:00:00Z"
    )
    made = build([record(provenance=provenance, gpu_shared=True)], ReportSettings(), tmp_path)
    text = " ".join("".join(parse(made.page).text).split())
    assert "ffffffffffff with uncommitted changes" in text
    assert "more than its cores: times are disturbed" in text and "shared with other work in 1 results" in text


def test_verdicts_are_counted_for_our_methods_alone(experiment_records: list[Record]) -> None:
    content = make_content(experiment_records, ReportSettings())
    counts = verdict_counts(content.comparisons)
    ours = [c for c in content.comparisons if c.family]
    assert sum(counts.values()) == len(ours) < len(content.comparisons)
    published = next(c for c in ours if c.family == "GaussianImage (Cholesky)" and c.metric == "psnr")
    assert published.verdict.kind == "reproduced" and published.deviation == pytest.approx(-0.02)


def test_unasked_only_papers_with_something_beside_them_are_shown(experiment_records: list[Record]) -> None:
    assert [t.title for t in make_content(experiment_records, ReportSettings()).papers] == ["AIR, Table I (Kodak)"]
    asked = ReportSettings.model_validate({"tables": [{"reference": "air_table2"}]})
    content = make_content(experiment_records, asked)
    assert content.papers == [] and len(content.other_papers) == 1
    assert make_content(experiment_records, ReportSettings(tables=[])).comparisons == []


def test_paper_values_have_the_paper_s_digits_and_marks(experiment_records: list[Record]) -> None:
    (table,) = make_content(experiment_records, ReportSettings()).papers
    keys = [column.key for column in table.columns]
    shown = {row[keys.index("metric")].text: row[keys.index("paper")].text for row in table.rows[:4]}
    assert shown == {
        "PSNR [dB] ↑": "26.98†",
        "MS-SSIM ↑": "0.914†",
        "LPIPS (VGG16) ↓": "0.401†",
        "Encode [s]": "1.471†",
    }
    assert any("Not reported by the method's own authors" in note for note in table.notes)


def test_a_word_of_the_paper_is_shown_as_its_own_with_the_cause(record: Make, tmp_path: Path) -> None:
    """Fail and OOM stand in the paper's column, our number in ours, and the data say which is which."""
    rs = {"entry": "rs", "family": "GaussianImage (RS)", "config": {"variant": "rs"}, "dataset": "div8k"}
    names = [f"{i:04d}" for i in range(16)]
    records = [
        record(image=name, budget={"compression_ratio": ratio, "iterations": 50000}, n_actual=9,
               metrics={"psnr": 20.0}, **rs)
        for ratio in (200, 500) for name in names
    ]  # fmt: skip
    settings = ReportSettings.model_validate({"tables": [{"reference": "smartsplat_table1_div8k"}]})
    (table,) = make_content(records, settings).papers
    keys = [column.key for column in table.columns]
    shown = {(row[1].text, row[2].text): dict(zip(keys, row, strict=True)) for row in table.rows}
    row = shown["CR 500, 50\u202f000 iterations", "PSNR [dB] ↑"]
    assert (row["paper"].text, row["paper"].value, row["published"].text) == ("Fail†", "fail", "20.00")
    assert (row["deviation"].value, row["verdict"].text) == (None, "only here")
    assert "the paper: Fail (its table was too small, see docs/corrections.md)" in row["reason"].text
    assert shown["CR 200, 50\u202f000 iterations", "PSNR [dB] ↑"]["paper"].text == "23.45†"
    made = build(records, settings, tmp_path)
    text = " ".join("".join(parse(made.page).text).split())
    assert "1 only here" in text and "OOM" in text  # the legend; no value of ours is a word
    csv = (tmp_path / "tables" / "paper-smartsplat-table1-div8k-table-1.csv").read_text()
    assert "fail" in csv and ",20.0," in csv


def test_values_of_some_images_are_marked_and_the_largest_deviation_is_named(record: Make) -> None:
    config = {"entry": "smartsplat", "family": "SmartSplat", "config": {}, "dataset": "div8k", "n_actual": 9}
    budget = {"compression_ratio": 500, "iterations": 50000}
    records = [record(image=n, budget=budget, metrics={"psnr": v}, **config) for n, v in (("0138", 41.3), ("1404", 33))]
    settings = ReportSettings.model_validate({"tables": [{"reference": "smartsplat_logs_div8k"}]})
    (table,) = make_content(records, settings).papers
    keys = [column.key for column in table.columns]
    row = dict(zip(keys, table.rows[0], strict=True))
    assert (row["setting"].text, row["paper"].text) == ("CR 500, 50\u202f000 iterations, 2 of 16 images", "36.11")
    assert "0138, 1404" in row["setting"].hint
    assert row["deviation"].hint == "of the column “as published”; largest of one image: +2.03 (1404)"
    assert any(note.startswith("SmartSplat: The best PSNR during training averages 23.86 dB") for note in table.notes)


def test_notes_on_some_rows_of_a_method_say_on_which(record: Make) -> None:
    config = {"entry": "smartsplat", "family": "SmartSplat", "config": {}, "dataset": "div8k", "n_actual": 9}
    records = [
        record(image=f"{i:04d}", budget={"compression_ratio": ratio}, metrics={"psnr": 25.0}, **config)
        for ratio in (200, 500)
        for i in range(16)
    ]
    settings = ReportSettings.model_validate({"tables": [{"reference": "smartsplat_table1_div8k"}]})
    (table,) = make_content(records, settings).papers
    assert "SmartSplat (CR 200): The authors' logs average 25.74 dB." in table.notes


def test_no_records_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run the experiment first"):
        build([], ReportSettings(), tmp_path)


def test_a_folder_that_cannot_be_written_is_named(experiment_records: list[Record], tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OSError, match=re.escape(str(blocked))):
        build(experiment_records[:1], ReportSettings(), blocked / "report")
