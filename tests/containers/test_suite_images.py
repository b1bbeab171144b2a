"""Our Dockerfiles, what they are built from, and what a process in an image says of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from splatbench.containers import identity, recipe, suite
from splatbench.provenance import provenance, source_state
from splatbench.record import ContainerImage, Provenance, Record
from splatbench.results.stale import staleness
from splatbench.runner.plan import configured

ROOT = Path(__file__).resolve().parents[2]
DIGEST = re.compile(r"\S+@sha256:[0-9a-f]{64}")


def instructions(kind: str) -> list[tuple[str, str]]:
    """(instruction, arguments) of a Dockerfile; continued lines are joined, comments are left out."""
    lines = [line for line in (ROOT / recipe.dockerfile(kind)).read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.split(None, 1)[0], line.split(None, 1)[1].strip()) for line in joined.splitlines() if line.strip()]


def stages(kind: str) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for word, rest in instructions(kind):
        if word == "FROM":
            name = rest.split(" AS ")[1]
            found[name] = []
        elif found:
            found[name].append((word, rest))
    return found


@pytest.mark.parametrize("kind", recipe.KINDS)
def test_every_stage_begins_with_a_digest_or_another_stage(kind):
    defaults = dict(rest.split("=", 1) for word, rest in instructions(kind) if word == "ARG" and "=" in rest)
    known: set[str] = set()
    for word, rest in instructions(kind):
        if word == "FROM":
            source, name = rest.split(" AS ")
            source = re.sub(r"\$\{(\w+)\}", lambda match: defaults[match[1]], source)
            assert source in known or DIGEST.fullmatch(source), f"{kind}: {source} is not pinned by digest"
            known.add(name)


@pytest.mark.parametrize("kind", recipe.KINDS)
def test_images_run_as_a_user_and_can_be_asked_for_their_health(kind):
    last = stages(kind)["suite"]
    users = [rest for word, rest in last if word == "USER"]
    assert users and users[-1].split(":")[0].isdigit() and int(users[-1].split(":")[0]) >= 1000
    assert any(word == "HEALTHCHECK" and '["splatbench", "doctor", "--check"]' in rest for word, rest in last)
    assert ("ENTRYPOINT", '["splatbench"]') in last
    assert any(word == "LABEL" and "org.opencontainers.image.title" in rest and recipe.RECIPE_LABEL in rest
               for word, rest in last)  # fmt: skip


@pytest.mark.parametrize("kind", recipe.KINDS)
def test_nothing_comes_unchecked_from_the_network(kind):
    for word, rest in instructions(kind):
        assert word != "ADD", "ADD takes addresses and unpacks archives: COPY says what is meant"
        if word == "RUN":
            assert not re.search(r"curl|wget|\|\s*(ba)?sh\b|https?://|git clone", rest), rest
            for part in rest.split("&&"):
                if "pip install" in part:
                    assert "PIP_CONSTRAINT=constraints.txt" in part or "--no-deps" in part, f"versions are free: {part}"
                if "apt-get install" in part:
                    assert "--no-install-recommends" in part and "rm -rf /var/lib/apt/lists/*" in rest


@pytest.mark.parametrize("kind", recipe.KINDS)
def test_what_networks_need_reaches_no_image(kind):
    """Certificates and index addresses are for the stage that installs; the last stage copies folders out of it."""
    last = stages(kind)["suite"]
    for word, rest in last:
        assert "certificates" not in rest and "PIP_" not in rest, (word, rest)
        if word == "COPY":
            assert re.fullmatch(r"--from=(packages|source) (/opt/splatbench/\w+) \2", rest), rest
    assert any("rm -r /opt/splatbench/src/containers/certificates" in rest for _, rest in stages(kind)["source"])


def test_packages_come_before_our_code_and_are_shared():
    """A change of our code installs nothing anew, and the images for CPUs and GPUs have the same packages."""
    for kind in recipe.KINDS:
        copied = [rest for word, rest in stages(kind)["packages"] if word == "COPY"]
        assert not any(re.search(r"\b(splatbench|methods)\b|^\. ", rest) for rest in copied), copied
    assert stages("cpu")["python"] == stages("gpu")["python"] == stages("report")["python"]
    assert stages("cpu")["packages"] == stages("gpu")["packages"]
    venv = ("COPY", "--from=packages /opt/splatbench/venv /opt/splatbench/venv")
    cpu, gpu = (stages(kind)["suite"] for kind in ("cpu", "gpu"))
    assert cpu[: cpu.index(venv) + 1] == gpu[: gpu.index(venv) + 1], "the layer of gigabytes is one"


def test_the_report_image_has_what_reports_import():
    """Commands that make pages import nothing but what containers/report/requirements.txt brings."""
    lines = (ROOT / "containers/report/requirements.txt").read_text().splitlines()
    wanted = [line for line in lines if line and not line.startswith("#")]
    code = f"""
import importlib.abc, importlib.metadata as metadata, re, sys
def closure(names):
    found = set()
    def add(name):
        key = re.sub("[-_.]+", "-", name).lower()
        if key in found: return
        try: needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError: return
        found.add(key)
        for need in needs:
            if "extra ==" not in need: add(re.split("[^A-Za-z0-9._-]", need)[0])
    for name in names: add(name)
    return found
allowed = closure({wanted!r}) | {{"splatbench"}}
owners = metadata.packages_distributions()
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        dists = {{re.sub("[-_.]+", "-", each).lower() for each in owners.get(top, ())}}
        if dists and not dists & allowed:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
        return None
sys.meta_path.insert(0, Refuse())
try:
    import snakemake
except ModuleNotFoundError: pass
else: raise SystemExit("snakemake was let through: this test sees nothing")
import splatbench.report.build, splatbench.site.build, splatbench.results.check, splatbench.results.merge
import splatbench.cli.view, splatbench.cli.report, splatbench.cli.results
from splatbench.method import available, get_method
for name in available(): get_method(name)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


# -- recipes ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def project(tmp_path):
    """The files that recipes are made of, in a folder of their own."""
    for name in ("constraints.txt", "pyproject.toml", *map(recipe.dockerfile, recipe.KINDS)):
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    return tmp_path


def test_recipes_follow_what_decides_the_environment_and_nothing_else(project):
    before = {kind: recipe.recipe(kind, project) for kind in recipe.KINDS}
    assert len(set(before.values())) == 3
    (project / "containers/gpu/Dockerfile").write_text("FROM scratch\n")
    after = {kind: recipe.recipe(kind, project) for kind in recipe.KINDS}
    assert after["gpu"] != before["gpu"] and after["cpu"] == before["cpu"]
    (project / "constraints.txt").write_text("numpy==1.0\n")
    assert all(recipe.recipe(kind, project) != after[kind] for kind in recipe.KINDS)
    (project / "splatbench").mkdir()
    again = recipe.recipe("cpu", project)
    (project / "splatbench/new.py").write_text("1")
    assert recipe.recipe("cpu", project) == again


def test_what_else_lies_beside_a_recipe_is_not_of_it(project):
    """With and without git: an editor's file makes no row stale, a list that the Dockerfile names does."""
    folder = project / "containers/report"
    before = recipe.recipe("report", project)
    (folder / ".Dockerfile.swp").write_text("1")
    (folder / "notes.txt").write_text("1")
    assert recipe.recipe("report", project) == before
    (folder / "requirements.txt").write_text("snakemake==9\n")
    with_list = recipe.recipe("report", project)
    (folder / "requirements.txt").write_text("snakemake==10\n")
    assert len({before, with_list, recipe.recipe("report", project)}) == 3


def test_a_recipe_needs_the_projects_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="checkout"):
        recipe.recipe("cpu", tmp_path)


def test_the_recipe_of_a_checkout_is_that_of_its_image():
    """What lies in an image gives the recipe that its label has, so the two cannot drift."""
    copied = set(suite.context_files())
    for kind in recipe.KINDS:
        files = {path for path in Path(ROOT, recipe.dockerfile(kind)).parent.rglob("*") if path.is_file()}
        assert {path.relative_to(ROOT).as_posix() for path in files} <= copied


# -- context ----------------------------------------------------------------------------------------------------------
def test_the_context_holds_what_is_needed_and_nothing_private(tmp_path):
    with suite.context() as file, tarfile.open(fileobj=file) as archive:
        members = archive.getmembers()
    names = {member.name for member in members}
    assert {"constraints.txt", "pyproject.toml", "splatbench/gaussians.py", "methods/gaussianimage/__init__.py",
            "Snakefile", "containers/cpu/Dockerfile", "containers/certificates/README.md"} <= names  # fmt: skip
    roots = {name.partition("/")[0] for name in names}
    assert not roots & {".git", ".venv", "tests", "results", "docs", "benchmarks", ".github", "data"}
    assert not any("__pycache__" in name for name in names)
    assert {(member.uid, member.gid, member.uname) for member in members} == {(0, 0, "")}


def test_certificates_are_added_and_must_be_some(tmp_path):
    bundle = tmp_path / "ca.pem"
    bundle.write_text("-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n")
    with suite.context(bundle) as file, tarfile.open(fileobj=file) as archive:
        held = archive.extractfile("containers/certificates/bundle.crt")
        assert held is not None and held.read() == bundle.read_bytes()
    bundle.write_text("something else")
    with pytest.raises(ValueError, match="not a PEM file"), suite.context(bundle):
        pass


def test_untracked_files_stay_out_but_for_certificates(tmp_path):
    (tmp_path / ".dockerignore").write_text("# all but\n*\n!containers\n!splatbench\n")
    for name in ("splatbench/a.py", "splatbench/secret.txt", "containers/certificates/own.crt", "other.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert "splatbench/secret.txt" in suite.context_files(tmp_path), "without git there is nothing to go by"
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "add", "splatbench/a.py", "other.txt", ".dockerignore"], check=True)
    assert suite.context_files(tmp_path) == [".dockerignore", "containers/certificates/own.crt", "splatbench/a.py"]
    (tmp_path / ".gitignore").write_text("*.crt\n")
    assert suite.untracked_files(tmp_path) == ["splatbench/secret.txt"], "the user is told"


# -- identity ---------------------------------------------------------------------------------------------------------
@pytest.fixture
def inside(tmp_path, monkeypatch):
    """Makes this process believe that it runs in an image."""

    def make(facts: object = None, mark: bool = False, **environment: str) -> None:
        file = tmp_path / "image.json"
        if facts is not None:
            file.write_text(facts if isinstance(facts, str) else json.dumps(facts))
        marks = (tmp_path / "mark",)
        if mark:
            marks[0].touch()
        identity.facts.cache_clear()
        identity.this_image.cache_clear()
        monkeypatch.setattr(identity, "_FACTS", file)
        monkeypatch.setattr(identity, "_MARKS", marks)
        for name in ("SPLATBENCH_IMAGE", "SPLATBENCH_IMAGE_DIGEST", "APPTAINER_CONTAINER"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    yield make
    monkeypatch.undo()
    identity.facts.cache_clear()
    identity.this_image.cache_clear()


OURS = {"name": "splatbench-cpu", "recipe": "ab" * 32, "revision": "c0ffee-dirty"}


def test_outside_there_is_no_image_whatever_is_exported(inside):
    inside(SPLATBENCH_IMAGE="splatbench-cpu", SPLATBENCH_IMAGE_DIGEST="sha256:00")
    assert identity.this_image() is None
    assert identity.revision() == (None, None)


def test_rows_name_image_digest_recipe_and_commit(inside, monkeypatch, tmp_path):
    inside(OURS, SPLATBENCH_IMAGE="registry/team/splatbench-cpu:3", SPLATBENCH_IMAGE_DIGEST="sha256:12")
    monkeypatch.setattr("splatbench.provenance._ROOT", tmp_path)  # an image has no .git
    source_state.cache_clear()
    made = provenance()
    source_state.cache_clear()
    assert made.image == ContainerImage(
        name="splatbench-cpu", digest="sha256:12", engine="docker", recipe=OURS["recipe"]
    )
    assert (made.commit, made.dirty) == ("c0ffee", True)


def test_an_image_file_is_hashed_where_nobody_told(inside, tmp_path):
    file = tmp_path / "own.sif"
    file.write_bytes(b"image")
    inside(APPTAINER_CONTAINER=str(file))
    image = identity.this_image()
    assert image is not None and (image.name, image.engine, image.recipe) == ("own.sif", "apptainer", "")
    assert image.digest == "sha256:6105d6cc76af400325e94d588ce511be5bfdbb73b437dc51eca43917d7a43e3d"


def test_a_container_of_somebody_else_counts_when_it_is_named(inside):
    inside(mark=True)
    assert identity.this_image() is None
    inside(mark=True, SPLATBENCH_IMAGE="mine")
    image = identity.this_image()
    assert image is not None and (image.name, image.recipe) == ("mine", "")


@pytest.mark.parametrize("text", ["", "[]", '{"name": "x"}', "null"])
def test_a_broken_description_is_said(inside, text):
    inside(text)
    with pytest.raises(ValueError, match="does not describe an image"):
        identity.this_image()


# -- stale rows -------------------------------------------------------------------------------------------------------
def row(image: ContainerImage | None) -> Record:
    config, config_hash = configured("gaussianimage", {})
    return Record(experiment="e", dataset="d", image="i", entry="x", method="gaussianimage", config=config,
                  config_hash=config_hash, provenance=Provenance(image=image))  # fmt: skip


def test_rows_of_another_recipe_are_stale():
    today = recipe.recipe("cpu")
    assert staleness(row(ContainerImage(name="splatbench-cpu", recipe=today))) == ()
    (reason,) = staleness(row(ContainerImage(name="splatbench-cpu", recipe="ab" * 32)))
    assert reason == f"made in an image of another recipe (splatbench-cpu ababababab, now {today[:10]})"
    (reason,) = staleness(row(ContainerImage(name="splatbench-tpu", recipe="ab" * 32)))
    assert "a recipe that there is no more" in reason


def test_rows_without_a_known_recipe_are_not():
    assert staleness(row(None)) == staleness(row(ContainerImage(name="mine", digest="sha256:1"))) == ()
