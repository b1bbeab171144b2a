"""The claims table as text, and what was trained and measured for it."""

from __future__ import annotations

import re

from tabulate import tabulate

from benchmarks.air_claims_rules import CLAIMS, Material
from benchmarks.air_claims_training import TRAININGS, TrainingRecord

_PLACE = re.compile(r"<!--claims (?P<what>\w+)-->.*?<!--/claims-->", re.S)


def findings(material: Material) -> list[dict[str, str]]:
    """Every claim with our numbers and the verdict, for a file."""
    rows = []
    for claim in CLAIMS:
        ours, verdict = claim.finding(material)
        rows.append({"claim": claim.statement, "paper": claim.paper, "ours": ours, "verdict": verdict,
                     "rule": claim.rule})  # fmt: skip
    return rows


def table(material: Material) -> str:
    """Markdown: claim, paper, ours, holds or not."""
    rows = [
        [row["claim"], row["paper"], row["ours"].replace("; ", "<br>"), row["verdict"]] for row in findings(material)
    ]
    headers = ["claim", "paper", "ours", "holds or not"]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def rules(material: Material) -> str:
    """Markdown: a line per claim."""
    return "\n".join(f"- {claim.statement}: {claim.rule}" for claim in CLAIMS)


def trainings(material: Material) -> str:
    """Markdown: a row per training, with what it changes in its recipe and what came of it."""
    rows = [_training_row(name, material.trainings.get(name)) for name in TRAININGS]
    headers = ["training", "recipe", "changes", "starts from", "steps", "minutes", "best PSNR", "PSNR at the end"]
    return tabulate(rows, headers, tablefmt="pipe", disable_numparse=True)


def _training_row(name: str, record: TrainingRecord | None) -> list[str]:
    training = TRAININGS[name]
    row = [name, training.recipe, "; ".join(training.changes), training.after or "random weights"]
    if record is None:
        return [*row, "not run", "", "", ""]
    curve = [quality for _, quality in record.last_stage]
    minutes = "" if record.seconds is None else f"{record.seconds / 60:.1f}"
    end = f"{curve[-1]:.2f}" if curve else ""
    end += f" (broke off: {record.reason})" if record.status == "failed" else ""
    return [*row, str(record.steps), minutes, f"{max(curve):.2f}" if curve else "", end]


def setting(material: Material) -> str:
    """Markdown: what was tested, in sentences."""
    records = list(material.trainings.values())
    images = {record.image for record in material.evaluation}
    if not records or not images:
        return "Nothing has been trained or measured yet."
    parameters = sorted({record.parameters for record in records if record.parameters})
    steps = sorted({record.steps for record in records})
    made = records[0].provenance
    commit = (made.commit or "outside a checkout")[:12] + (", with uncommitted changes" if made.dirty else "")
    return (
        f"Networks of {_range([f'{count / 1e6:.2f}' for count in parameters])} million parameters, trained for "
        f"{_range([str(n) for n in steps])} steps on crops of 112x112 pixels; the paper's have 393 million and 100 000 "
        f"to 200 000 steps on ImageNet. Measured on {len(images)} images of Kodak; the paper's tables are of DIV2K. "
        f"Trained on {made.cpu}, {made.threads} thread{'s' * (made.threads > 1)}, at commit {commit}."
    )


def _range(texts: list[str]) -> str:
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}"


_PARTS = {"table": table, "rules": rules, "trainings": trainings, "setting": setting}


def fill(text: str, material: Material) -> str:
    """A document with every place `<!--claims WHAT-->...<!--/claims-->` filled in; WHAT is table, rules, trainings or
    setting.

    Raises:
        ValueError: another WHAT.
    """

    def part(place: re.Match[str]) -> str:
        what = place["what"]
        if what not in _PARTS:
            raise ValueError(f"<!--claims {what}-->: known are {', '.join(_PARTS)}")
        return f"<!--claims {what}-->\n{_PARTS[what](material)}\n<!--/claims-->"

    return _PLACE.sub(part, text)
