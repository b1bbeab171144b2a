"""The command line as a person or a program uses it: exit codes, messages, JSON, files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

METHODS = Path(__file__).resolve().parents[1] / "runner" / "methods"
HEAVY = ("torch", "torchvision", "lpips", "numba", "pandas", "matplotlib", "snakemake", "skimage", "scipy")


@pytest.fixture
def photo(tmp_path: Path, photograph: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photo.png, 40x24 pixels, in the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPLATBENCH_METHODS", str(METHODS))
    monkeypatch.setenv("ENCODE_LOG", str(tmp_path / "encodes.txt"))
    monkeypatch.setenv("COLUMNS", "200")
    Image.fromarray(np.ascontiguousarray(photograph[100:124, 100:140])).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """A real process: exit codes and imports are what a user gets."""
    command = [sys.executable, "-m", "splatbench", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.fixture
def invoke(monkeypatch, capsys):
    """`main` in this process, for what needs no process of its own: (exit code, stdout, stderr)."""
    from splatbench.cli import main

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["splatbench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def test_help_imports_nothing_heavy():
    code = (
        "import sys; sys.argv = ['splatbench', '--help']\n"
        "from splatbench.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().endswith("LOADED []"), done.stdout[-300:] + done.stderr
    assert "Exit codes" in done.stdout


@pytest.mark.parametrize(
    "command", ["fit", "decode", "evaluate", "run", "methods", "doctor", "encode-shard", "evaluate-shard", "collect"]
)
def test_help_of_every_command_has_an_example(invoke, command):
    code, out, _ = invoke(command, "--help")
    assert code == 0 and f"Example: splatbench {command}" in out.replace("Examples", "Example")


def test_fit_decode_evaluate(invoke, photo, tmp_path):
    code, out, _ = invoke("fit", photo, "-m", "random_gaussians", "-n", 300, "-o", "photo.s2d", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["gaussians"] == 300 and facts["bytes"] == (tmp_path / "photo.s2d").stat().st_size
    code, out, _ = invoke("decode", "photo.s2d", "-o", "decoded.png")
    assert code == 0 and "40x24" in out
    code, out, _ = invoke("evaluate", "photo.s2d", photo, "--metrics", "psnr,psnr_u8", "--json")
    assert code == 0
    facts = json.loads(out)
    decoded, original = (np.asarray(Image.open(p)).astype(float) for p in ("decoded.png", photo))
    expected = 10 * np.log10(255**2 / np.mean((decoded - original) ** 2))
    assert facts["metrics"]["psnr_u8"] == pytest.approx(expected, abs=1e-6)
    assert facts["bpp"] == pytest.approx(8 * facts["bytes"] / (24 * 40))


def test_decoding_in_another_process_gives_the_same_bits(invoke, photo, tmp_path):
    for name in ("a", "b"):
        assert invoke("fit", photo, "-m", "random_gaussians", "-n", 200, "-o", f"{name}.s2d")[0] == 0
    assert (tmp_path / "a.s2d").read_bytes() == (tmp_path / "b.s2d").read_bytes()
    assert invoke("decode", "a.s2d")[0] == 0
    assert run("decode", "b.s2d").returncode == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_run_one_image(invoke, photo, tmp_path):
    code, out, _ = invoke("run", photo, "-m", "codecs", "-q", 50, "--metrics", "psnr", "-o", "kept.jpg", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["metrics"]["psnr"] > 20 and facts["encode_seconds"] > 0
    assert facts["bytes"] == (tmp_path / "kept.jpg").stat().st_size


@pytest.mark.parametrize(("codec", "suffix"), [("webp", ".webp"), ("jxl", ".jxl"), ("avif", ".avif")])
def test_a_rate_in_bytes_and_the_suffix_of_the_format(invoke, photo, tmp_path, codec, suffix):
    code, out, _ = invoke("fit", photo, "-m", "codecs", "--set", f"codec={codec}", "--bpp", 6, "--json")
    assert code == 0
    file = tmp_path / f"photo{suffix}"
    assert json.loads(out)["bytes"] == file.stat().st_size == pytest.approx(6 * 24 * 40 / 8, rel=0.1)
    code, out, _ = invoke("evaluate", file, photo, "--metrics", "psnr", "--json")
    assert code == 0 and json.loads(out)["metrics"]["psnr"] > 20
    assert invoke("decode", file, "-o", "decoded.png")[0] == 0
    assert np.abs(np.subtract(Image.open("decoded.png"), Image.open(photo), dtype=float)).mean() < 12


def test_tables_on_the_terminal(capsys):
    from splatbench.cli.fit import print_evaluation

    facts = {"image": "[x].png", "width": 4, "height": 3, "gaussians": 5, "bytes": 6, "bpp": 4.0,
             "metrics": {"psnr": 30.0, "ms_ssim": None}, "not_run": {"ms_ssim": "too small [sides]"},
             "encode_seconds": 1.0, "decode_seconds": 0.5}  # fmt: skip
    print_evaluation(facts)
    out = capsys.readouterr().out
    for words in ("[x].png, 4x3 pixels", "PSNR [dB]", "30.0000", "Encode [s]", "not run", "too small [sides]"):
        assert words in out


def test_run_a_whole_experiment(photo, tmp_path):
    (tmp_path / "pictures").mkdir()
    photo.rename(tmp_path / "pictures" / "photo.png")
    settings = {
        "name": "tiny",
        "datasets": [{"folder": "pictures"}],
        "metrics": ["psnr"],
        "controls": False,
        "entries": [{"id": "slow", "title": "S", "family": "S", "method": "slow", "budgets": [{"gaussians": 9}]}],
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(settings))
    done = run("run", "--experiment", "tiny.yaml")
    assert done.returncode == 0, done.stderr
    (record,) = [json.loads(line) for line in (tmp_path / "results/tiny/records.jsonl").read_text().splitlines()]
    assert (record["status"], record["metrics"]) == ("ok", {"psnr": 100.0})
    assert (tmp_path / "reports/tiny/index.html").is_file()
    from splatbench.runner.locks import lock_run

    with lock_run(tmp_path / "results" / "tiny"):
        done = run("run", "--experiment", "tiny.yaml")
    assert done.returncode == 1 and "another run is working" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fit", "PHOTO", "-m", "codecs"], 2, ["exactly one of --gaussians"]),
        (["fit", "PHOTO", "-m", "codecs", "-n", 5], 2, ["codecs cannot meet a budget of kind gaussians", "quality"]),
        (["fit", "PHOTO", "-m", "slow", "-n", 5, "--set", "seconds"], 2, ["KEY=VALUE"]),
        (["fit", "PHOTO", "-m", "slow", "-n", 5, "--set", "secnds=1"], 1, ["did you mean 'seconds'"]),
        (["fit", "PHOTO", "-m", "solw", "-n", 5], 1, ["unknown method 'solw'", "did you mean 'slow'"]),
        (["fit", "PHOTO", "-m", "slow", "-n", 961], 1, ["more than the image has pixels (40x24 = 960)"]),
        (["fit", "PHOTO", "-m", "slow", "-r", 1e6], 1, ["leaves no Gaussian"]),
        (["fit", "PHOTO", "-m", "identity", "--native", "-o", "PHOTO"], 1, ["is the picture itself"]),
        (["fit", "TEXT", "-m", "slow", "-n", 5], 1, ["text.png"]),
        (["fit", "CUT", "-m", "slow", "-n", 5], 1, ["cut.png"]),
        (["fit", "none.png", "-m", "slow", "-n", 5], 1, ["none.png"]),
        (["fit", "PHOTO", "-m", "slow", "-n", 5, "--device", "cuda"], 1, ["runs on cpu, not on cuda"]),
        (["decode", "PHOTO.s2d"], 1, ["PHOTO.s2d"]),
        (["decode", "TEXT", "-o", "x.png"], 1, ["PNG"]),
        (["evaluate", "PHOTO", "PHOTO", "--metrics", "psnrr"], 1, ["did you mean 'psnr'"]),
        (["run", "PHOTO"], 2, ["--method"]),
        (["run"], 2, ["IMAGE or --experiment"]),
        (["run", "--experiment", "none.yaml"], 1, ["none.yaml"]),
        (["collect", "--experiment", "none.yaml"], 1, ["none.yaml"]),
        (["methods", "gausianimage"], 1, ["did you mean 'gaussianimage'"]),
        (["frobnicate"], 2, ["No such command"]),
    ],
    ids=lambda value: " ".join(map(str, value))[:40] if isinstance(value, list) else None,
)  # fmt: skip
def test_mistakes_are_one_sentence_and_an_exit_code(invoke, photo, tmp_path, arguments, code, words):
    (tmp_path / "text.png").write_text("not a picture")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:200])
    named = {"PHOTO": photo, "TEXT": tmp_path / "text.png", "CUT": tmp_path / "cut.png"}
    got, out, err = invoke(*(named.get(a, a) for a in arguments))
    text = " ".join((out + err).replace("│", " ").split())
    assert got == code, text
    assert "Traceback" not in text
    for word in words:
        assert word in text, text
    if code == 1:
        assert err.startswith("splatbench: ")


def test_debug_shows_where(monkeypatch, photo):
    from splatbench.cli import main
    from splatbench.method import MethodError

    monkeypatch.setattr(sys, "argv", ["splatbench", "--debug", "fit", str(photo), "-m", "solw", "-n", "5"])
    with pytest.raises(MethodError):
        main()


def test_methods(invoke, photo):
    code, out, _ = invoke("methods")
    assert code == 0 and all(name in out for name in ("slow", "codecs", "gaussianimage"))
    code, out, _ = invoke("methods", "slow", "--json")
    facts = json.loads(out)["methods"]["slow"]
    assert code == 0 and facts["settings"]["seconds"] == {"type": "float", "default": 0.0}
    code, out, _ = invoke("methods", "gaussianimage")
    assert code == 0 and "qat_iterations" in out and "50000" in out


def test_a_broken_method_hides_no_other(invoke, photo, tmp_path, monkeypatch):
    broken = tmp_path / "more" / "broken"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("1 / 0")
    monkeypatch.setenv("SPLATBENCH_METHODS", os.pathsep.join([str(METHODS), str(broken.parent)]))
    code, out, _ = invoke("methods")
    assert code == 0 and "broken cannot be loaded" in out and "codecs" in out


def test_doctor(invoke, photo, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLATBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SPLATBENCH_DATA", "")
    code, out, _ = invoke("doctor", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["data_sets"]["sample"].endswith("complete")
    assert "splatbench data fetch kodak" in facts["data_sets"]["kodak"]
    assert facts["software"]["torch"] and facts["devices"]["cores"] >= 1
    assert set(facts["weights"]) >= {"lpips_alex", "lpips_vgg", "lpips_squeeze"}
    assert "slow" in facts["methods"]


def test_a_folder_that_cannot_be_written(invoke, photo, tmp_path):
    """A read-only file system (a mount, since root ignores permissions)."""
    target = tmp_path / "readonly"
    target.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(target)], capture_output=True)
    if mounted.returncode:
        if os.geteuid() == 0:
            pytest.skip("root without the right to mount: permissions would not stop it")
        target.chmod(0o500)
    try:
        code, _, err = invoke("fit", photo, "-m", "slow", "-n", 5, "-o", target / "x.png")
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", str(target)], check=True)
    assert code == 1 and err.startswith(f"splatbench: cannot write {target / 'x.png'}: ")


def test_a_full_disk(invoke, photo, tmp_path):
    target = tmp_path / "small"
    target.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(target)], capture_output=True).returncode:
        pytest.skip("needs the right to mount a small tmpfs; without it the same is tested with a patched os.replace")
    try:
        noise = np.random.default_rng(0).integers(0, 256, (120, 120, 3), np.uint8)
        Image.fromarray(noise).save(photo)
        code, _, err = invoke("fit", photo, "-m", "identity", "--native", "-o", target / "x.png")
        assert code == 1 and err.count("\n") == 1
        assert err.startswith(f"splatbench: cannot write {target / 'x.png'}: No space left on device ({target} is on a")
        assert list(target.iterdir()) == []
    finally:
        subprocess.run(["umount", str(target)], check=True)


@pytest.fixture
def stack(photo, tmp_path) -> Path:
    """textures/: an RGB, a grey and an RGBA picture of 40x24 pixels."""
    folder = tmp_path / "textures"
    folder.mkdir()
    pixels = np.asarray(Image.open(photo))
    Image.fromarray(pixels).save(folder / "Albedo.png")
    Image.fromarray(pixels[..., 1]).save(folder / "height.png")
    Image.fromarray(np.concatenate([255 - pixels, pixels[..., :1]], 2)).save(folder / "normal.png")
    return folder


def test_a_texture_stack_is_one_file_and_comes_back_as_pictures(invoke, stack, tmp_path):
    code, out, err = invoke("fit", stack, "-m", "image_gs", "-n", 300, "-i", 60, "--json")
    assert code == 0, err
    assert json.loads(out)["notes"] == ["normal.png: alpha dropped"]
    file = tmp_path / "textures.s2d"
    code, out, _ = invoke("decode", file)
    assert code == 0 and "3 textures of 40x24 pixels" in out
    pictures = [np.asarray(Image.open(p)) for p in sorted((tmp_path / "textures-decoded").iterdir())]
    assert [p.shape for p in pictures] == [(24, 40, 3), (24, 40), (24, 40, 3)]
    code, out, _ = invoke("evaluate", file, stack, "--metrics", "psnr,psnr_u8,ssim", "--json")
    facts = json.loads(out)
    originals = [np.asarray(Image.open(p)) for p in (stack / "Albedo.png", stack / "height.png", stack / "normal.png")]
    errors = [(p.astype(float) - o[..., :3] if o.ndim == 3 else p.astype(float) - o).ravel()
              for p, o in zip(pictures, originals, strict=True)]  # fmt: skip
    expected = 10 * np.log10(255**2 / np.mean(np.concatenate(errors) ** 2))
    assert facts["metrics"]["psnr_u8"] == pytest.approx(expected, abs=1e-6)
    assert facts["metrics"]["ssim"] is None and "7 channels" in facts["not_run"]["ssim"]
    code, out, err = invoke("decode", file, "-o", "one.png")
    assert code == 1 and "holds 3 textures; name a folder" in err
    code, out, err = invoke("fit", stack, "-m", "gaussianimage", "-n", 30)
    assert code == 1 and "has 7 channels; gaussianimage takes pictures of 3 channels" in err


def test_one_grey_texture_is_a_grey_picture(invoke, stack, tmp_path):
    for name in ("Albedo.png", "normal.png"):
        (stack / name).unlink()
    assert invoke("fit", stack, "-m", "image_gs", "-n", 300, "-i", 30)[0] == 0
    assert invoke("decode", "textures.s2d")[0] == 0
    assert np.asarray(Image.open(tmp_path / "textures.png")).shape == (24, 40)


def test_decode_at_another_scale(invoke, photo, tmp_path):
    assert invoke("fit", photo, "-m", "image_gs", "-n", 300, "-i", 100)[0] == 0
    assert invoke("decode", "photo.s2d", "-o", "same.png")[0] == 0
    code, out, _ = invoke("decode", "photo.s2d", "--scale", 3.0, "-o", "large.png")
    assert code == 0 and "120x72" in out
    same, large = (np.asarray(Image.open(tmp_path / name)).astype(int) for name in ("same.png", "large.png"))
    assert np.abs(large[1::3, 1::3] - same).max() <= 1  # where their pixel centres agree
    code, _, err = invoke("decode", "photo.s2d", "--scale", -1)
    assert code == 1 and "ratio above 0" in err
    assert invoke("fit", photo, "-m", "identity", "--native", "-o", "photo.id.png")[0] == 0
    code, _, err = invoke("decode", "photo.id.png", "--scale", 2, "-o", "x.png")
    assert code == 1 and "holds pixels, not Gaussians" in err
