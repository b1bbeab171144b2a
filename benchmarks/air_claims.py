"""What AIR's paper claims about its training, tested with tiny networks of AIR-small; the table is docs/air_claims.md.

    python -m benchmarks.air_claims train                   all trainings, about half an hour on one core
    python -m benchmarks.air_claims train pod finetune      some of them; --steps 10: whether they run
    python -m benchmarks.air_claims evaluate                config/air_claims.yaml with their weights
    python -m benchmarks.air_claims report                  the records into results/published/air_claims, and the table

Recipes are methods/air/training/recipes/claims/*.yaml. Everything goes on where it was stopped: what is finished is not
done again. --out is one folder for all three (default: results/air_claims_training).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from benchmarks.air_claims_report import fill, findings, table
from benchmarks.air_claims_rules import Material
from benchmarks.air_claims_training import (
    LEAST_STEPS,
    ROOT,
    TRAININGS,
    WEIGHTS,
    TrainingRecord,
    read_trainings,
    train,
    write_trainings,
)
from splatbench.files import sha256_file, write_atomic
from splatbench.record import Record, read_records, write_records

EXPERIMENT = ROOT / "config" / "air_claims.yaml"
PUBLISHED = ROOT / "results" / "published" / "air_claims"
SMALL = ROOT / "results" / "published" / "air_small.jsonl"
DOCUMENT = ROOT / "docs" / "air_claims.md"
_TRAININGS, _EVALUATION, _CLAIMS = "trainings.jsonl", "evaluation.jsonl", "claims.json"


def train_all(args: argparse.Namespace) -> int:
    """The named trainings, each after what it starts from."""
    failed = False
    for name in [name for name in TRAININGS if not args.names or name in args.names]:
        record = train(name, args.out, args.steps, args.set)
        failed |= record.status == "failed"
        print(f"{name}: {record.status}, {record.steps} steps, {record.seconds or 0:.0f} s {record.reason or ''}")
    return int(failed)


def evaluate(args: argparse.Namespace) -> int:
    """Runs the experiment with the weights in --out; its results are kept apart by what the weights hold."""
    hashes = link_weights(args.out)
    experiment = yaml.safe_load(EXPERIMENT.read_text(encoding="utf-8"))
    if args.images:
        experiment["datasets"] = [{"name": "kodak", "images": args.images}]
    file = args.out / "experiment.yaml"
    write_atomic(file, yaml.safe_dump(experiment, sort_keys=False).encode())
    results = args.out / f"results-{hashes}"
    command = ["run", "--experiment", str(file), "--results", str(results), "--threads", str(args.threads)]
    folders = [str(args.out / "weights"), *filter(None, [os.environ.get("SPLATBENCH_WEIGHTS")])]
    environment = os.environ | {"SPLATBENCH_WEIGHTS": os.pathsep.join(folders)}
    done = subprocess.run([sys.executable, "-m", "splatbench", *command], env=environment)
    records = results / experiment["name"] / "records.jsonl"
    if records.is_file():
        shutil.copyfile(records, args.out / _EVALUATION)
    return done.returncode


def link_weights(out: Path) -> str:
    """Puts the weights of all finished trainings where config/air_claims.yaml looks; 8 digits that stand for them all.

    Raises:
        FileNotFoundError: nothing is trained yet.
    """
    found = {name: out / name / "export" / WEIGHTS for name in TRAININGS}
    present = {name: path for name, path in found.items() if path.is_file()}
    if not present:
        raise FileNotFoundError(f"{out} holds no finished training; run `python -m benchmarks.air_claims train` first")
    folder = out / "weights" / "claims"
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in present.items():
        shutil.copyfile(path, folder / f"{name}.safetensors")
    from splatbench.runner.plan import hash8

    return hash8({name: sha256_file(path) for name, path in present.items()})


def report(args: argparse.Namespace) -> int:
    """Takes over the records in --out, if there are any, and writes table and document from the published ones."""
    if found := trained(args.out):
        args.published.mkdir(parents=True, exist_ok=True)
        write_trainings(args.published / _TRAININGS, found)
    if (args.out / _EVALUATION).is_file():
        args.published.mkdir(parents=True, exist_ok=True)
        write_records(args.published / _EVALUATION, read_records(args.out / _EVALUATION))
    material = load(args.published, args.small)
    if not material.trainings:
        raise FileNotFoundError(f"neither {args.out} nor {args.published} holds records of trainings")
    text = json.dumps(findings(material), indent=1, ensure_ascii=False) + "\n"
    write_atomic(args.published / _CLAIMS, text.encode())
    args.document.write_text(fill(args.document.read_text(encoding="utf-8"), material), encoding="utf-8")
    print(table(material))
    return 0


def trained(out: Path) -> list[TrainingRecord]:
    """Records of the trainings in a folder, in their order."""
    paths = [out / name / "record.json" for name in TRAININGS]
    return [TrainingRecord.model_validate_json(path.read_bytes()) for path in paths if path.is_file()]


def load(published: Path, small: Path) -> Material:
    """What was measured; parts that are not there are empty."""
    trainings: Iterable[TrainingRecord] = ()
    if (published / _TRAININGS).is_file():
        trainings = read_trainings(published / _TRAININGS)
    return Material({record.name: record for record in trainings}, _records(published / _EVALUATION), _records(small))


def _records(path: Path) -> list[Record]:
    return list(read_records(path)) if path.is_file() else []


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.air_claims",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--out", type=Path, default=ROOT / "results" / "air_claims_training", metavar="FOLDER")
    common.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    one = commands.add_parser("train", parents=[common], help="trains")
    one.add_argument("names", nargs="*", help=f"of {', '.join(TRAININGS)}; default: all")
    one.add_argument("--steps", type=int, help="of each training, instead of the recipe's")
    one.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe; repeatable")
    one.set_defaults(do=train_all)
    two = commands.add_parser("evaluate", parents=[common], help="encodes and measures Kodak with the weights")
    two.add_argument("--images", type=lambda text: text.split(","), help="some of Kodak, as kodim01,kodim02")
    two.set_defaults(do=evaluate)
    three = commands.add_parser("report", parents=[common], help="records and table")
    three.add_argument("--published", type=Path, default=PUBLISHED, metavar="FOLDER")
    three.add_argument("--small", type=Path, default=SMALL, metavar="RECORDS", help="of config/air_small.yaml")
    three.add_argument("--document", type=Path, default=DOCUMENT, metavar="FILE")
    three.set_defaults(do=report)
    args = parser.parse_args(arguments)
    if args.command == "train":
        if unknown := set(args.names) - set(TRAININGS):
            parser.error(f"unknown {', '.join(sorted(unknown))}; known: {', '.join(TRAININGS)}")
        if args.steps is not None and args.steps < LEAST_STEPS:
            parser.error(f"--steps: at least {LEAST_STEPS}, so that the stages of POD join one after the other")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    args = parse(arguments)
    args.out = args.out.resolve()
    # Before anything is imported that starts threads.
    names = ("SPLATBENCH_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS")
    os.environ.update(dict.fromkeys(names, str(args.threads)))
    from splatbench.training.errors import TrainingError

    try:
        return int(args.do(args))
    except (FileNotFoundError, TrainingError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
