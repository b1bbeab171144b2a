"""Pages of methods: what the code, the facts and the records say."""

from __future__ import annotations

import pytest

from splatbench.method import available, get_method
from splatbench.report.method_settings import settings_of, sources_of
from splatbench.report.reference import available_references, load_reference
from splatbench.site import methods
from splatbench.site.build import make_environment, render
from splatbench.site.cells import papers
from splatbench.site.facts import FactsError, method_facts, method_of, read_facts
from splatbench.site.page import Site
from splatbench.site.rows import site_rows
from tests.site.test_verdicts import published, run


def made(source) -> tuple[Site, dict[str, str]]:
    site = source if isinstance(source, Site) else Site(source, site_rows(source))
    environment = make_environment()
    return site, {page.path: render(environment, site, page) for page in methods.pages(site)}


def entry(records, name: str) -> methods.Entry:
    site = Site(records, site_rows(records))
    return next(each for each in methods.entries(site, papers(site)) if each.name == name)


def test_every_method_of_the_project_has_facts_and_every_fact_a_method():
    assert set(method_facts()) == set(available())


@pytest.mark.parametrize(
    "name", [name for name, facts in method_facts().items() if facts.kind in ("fitting", "network")]
)
def test_facts_of_contenders(name):
    facts = method_facts()[name]
    assert facts.bibtex.startswith("@") and facts.bibtex.count("{") == facts.bibtex.count("}")
    assert facts.url.startswith("https://") and facts.names
    config = {field.name for field in settings_of(get_method(name))}
    for correction in facts.corrections:
        for switch in filter(None, correction.switch.split(", ")):
            assert switch.partition(":")[0] in config, f"{name} has no setting {switch}"


def test_families_of_papers_belong_to_methods():
    assert method_of("GaussianImage (RS)") == method_of("GaussianImage, after 2 s") == "gaussianimage"
    assert method_of("Instant-GI") == "instant_gi" and method_of("3D GS, L2") == "threedgs"
    assert method_of("WIRE") is None and method_of("GaussianImage++") is None
    printed = {row.family for name in available_references() for t in load_reference(name).tables for row in t.rows}
    assert {family for family in printed if method_of(family) is None} == {"WIRE", "SIREN", "I-NGP", "NeuRBF"}
    for facts in method_facts().values():
        assert set(facts.not_repeated) <= printed, "a row that no paper has"


def test_facts_that_do_not_fit_name_file_and_key(tmp_path):
    path = tmp_path / "methods.yaml"
    path.write_text("air: {title: AIR, kind: magic, description: x}\n")
    with pytest.raises(FactsError, match=r"methods\.yaml: kind"):
        read_facts(path)
    path.write_text("- 3\n")
    with pytest.raises(FactsError, match="cannot read"):
        read_facts(path)
    with pytest.raises(FactsError, match="cannot read"):
        read_facts(tmp_path / "none.yaml")


def test_settings_carry_their_comments():
    found = {setting.name: setting for setting in settings_of(get_method("gaussianimage"))}
    assert found["learning_rate_step"].default == 20_000 and found["learning_rate_step"].source == "[C] StepLR"
    assert found["preset"].source == ""
    scale = {s.name: s for s in settings_of(get_method("image_gs"))}["quantised_scale"]
    assert scale.source.startswith("[C] trains with quantised scales") and "released code stores" in scale.source
    assert sources_of(get_method("gaussianimage")).startswith("[P] Zhang et al.")
    assert sources_of(get_method("identity")) == ""


def test_the_page_of_a_method():
    site, pages = made(published())
    page = pages["methods/gaussianimage.html"]
    assert "@inproceedings{zhang2024gaussianimage" in page and "gradient: published" in page
    assert "codebook_decay" in page and "exponential moving average" in page
    mine = [row for row in site.rows if row.record.method == "gaussianimage"]
    assert all(f"leaderboard.html#{row.id}" in page for row in mine)
    assert "verdicts/air-table1.html#cell-1-psnr" in page
    assert "nothing yet" in pages["methods.html"] and "Nothing final" in pages["methods/threedgs.html"]


def test_a_method_that_is_not_installed():
    bad = "<b>gone</b>"
    site, pages = made(run(method=bad))
    page = pages[site.method_page(bad)]
    assert "has no method of this name" in page and "&lt;b&gt;gone" in page and bad not in page
    assert site.rows[0].id in page


def test_a_name_of_the_records_never_takes_another_method_s_page():
    _, pages = made([*run(method="image-gs"), *run(method="IMAGE GS", config_hash="b")])
    assert len(pages) == 1 + len(method_facts()) + 2


def test_a_method_that_cannot_be_loaded(tmp_path, monkeypatch):
    records = run(method="broken_one")
    rows = site_rows(records)  # while there is no such method
    folder = tmp_path / "broken_one"
    folder.mkdir()
    (folder / "__init__.py").write_text("1 / 0\n")
    monkeypatch.setenv("SPLATBENCH_METHODS", str(tmp_path))
    site, pages = made(Site(records, rows))
    page = pages["methods/broken-one.html"]
    assert "cannot be loaded (ZeroDivisionError)" in page and str(tmp_path) not in page
    assert any("broken_one" in problem for problem in site.problems)


def test_the_best_row_is_of_those_with_most_images():
    records = [*run(30.0), *run(40.0, images=("kodim01",), config_hash="b"), *run(31.0, config_hash="c", steps=900)]
    (best,) = entry(records, "gaussianimage").best
    assert best.row.row.means["psnr"] == pytest.approx(31.0)


def test_stages_stand_apart_from_results():
    found = entry([*run(), *run(snapshot="fit")], "gaussianimage")
    assert len(found.rows) == len(found.snapshots) == 1
