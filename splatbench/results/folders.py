"""Folders of one experiment's results from several machines become one, in which nothing finished is done again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from splatbench.files import write_atomic
from splatbench.record import Status
from splatbench.results.evaluations import Evaluations
from splatbench.results.findings import plain
from splatbench.results.mixtures import Mixtures, Origin
from splatbench.results.rules import MergeError, Preference, Rule, ahead_of_now, moment, preference
from splatbench.runner.locks import lock_run
from splatbench.runner.results import EncodeResult, examine, read_result, write_result

_NAMED, _BLOCK = 5, 2**20
#: Below an experiment's folder: <entry>-<hash>/<data set>/<budget>-s<seed>/<image>.json.
_ENCODINGS, _DEPTH = "encodings", "*/*/*/*.json"


@dataclass(frozen=True)
class _Found:
    """An encoding that is whole: its JSON, and what choosing needs of it."""

    root: Path  # the experiment's folder
    place: Path  # of the JSON, below `encodings/`
    digest: str  # of the result, wherever it lies
    made: str  # digest of what was made: see `_made`
    status: Status
    time: datetime
    origin: Origin

    @property
    def path(self) -> Path:
        return self.root / _ENCODINGS / self.place

    def rank(self, rule: Rule) -> tuple[Preference, str]:
        return preference(self.status, self.time, rule), self.made


@dataclass
class MergedFolders:
    """What a merge of folders did.

    Attributes:
        copied: encodings, failures included, that the output got.
        kept: that it had already.
        repeated: encodings that several folders have made alike, to the byte; one stays, with its times.
        evaluated: evaluations that it got, or that got metrics added.
        yielded: encodings that were never run; the next run of the experiment makes them, or another folder has them.
        conflicts: that a rule settled, a sentence each.
        damaged: results that were left out, each with the reason; the next run makes them again.
        warnings: what a reader of the results should know, a sentence each.
    """

    copied: int = 0
    kept: int = 0
    repeated: int = 0
    evaluated: int = 0
    yielded: int = 0
    conflicts: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def merge_folders(sources: Sequence[Path], out: Path, rule: Rule = "fail") -> MergedFolders:
    """Makes results/<experiment> of several such folders; running the experiment there fills what none of them has.

    An encoding comes whole (files, snapshots, times, where it was made) or not at all: its files must have the hashes
    that were recorded. What none of the folders has finished is left out. Where several folders have encoded the same
    picture to the same files, they differ in times alone, and the encoding of the first stays. Those of the same thing
    with other files, and failures, are conflicts, settled by the same rules as rows of records
    (`splatbench.results.merge.merge`). Measured values come with the file that they are of; where several folders
    measured it, they are united. Records, reports and markers of jobs are not copied: they are made again from the
    results.

    What `out` holds takes part, and nothing finished there is replaced. A merge that was interrupted, or is repeated
    after the machines did more, goes on from there.

    Args:
        sources: experiments' folders, of one experiment. They are only read; runs may be going on in them. One without
            records has the experiment's name.
        out: the experiment's folder to write; made if it is not there.

    Raises:
        MergeError: a folder holds no results, or those of another experiment; conflicts under "fail", or with `out`.
        splatbench.runner.locks.Busy: a run is going on in `out`.
        OSError: `out` cannot be written; what was copied before stays.
    """
    _require_one_experiment(sources, out)
    with lock_run(out):
        # The first of equal ones is kept: what the output has is not copied again.
        roots = _distinct([*([out] if (out / _ENCODINGS).is_dir() else []), *sources])
        merged = MergedFolders()
        groups = _gather(roots, merged)
        chosen = _choose(groups, out, rule, merged)
        evaluations = Evaluations(roots, out)
        for found in chosen:
            if found.root.resolve() == out.resolve():
                merged.kept += 1
            else:
                _copy(found, out)
                merged.copied += 1
            merged.evaluated += evaluations.bring(found.place, found.path)
        if merged.copied or merged.evaluated:
            # They say that jobs are done; the next run looks at every result again, which takes seconds.
            for stage in ("encode", "evaluate"):
                shutil.rmtree(out / "shards" / stage, ignore_errors=True)
        merged.warnings += [*_warnings(out.name, chosen), *evaluations.warnings]
    return merged


def _require_one_experiment(sources: Sequence[Path], out: Path) -> None:
    for source in sources:
        if not source.is_dir():
            raise MergeError(f"{source}: no such folder")
        if not (source / _ENCODINGS).is_dir():
            inside = sorted(path.parent for path in source.glob(f"*/{_ENCODINGS}"))
            hint = f"it holds several experiments: name one, e.g. {inside[0]}" if inside else "was anything encoded?"
            raise MergeError(
                f"{source}: an experiment's results have a folder {_ENCODINGS}/, which is not here; {hint}"
            )
    names = {_experiment(source) or source.absolute().name: source for source in sources}
    if (name := _experiment(out)) is not None:
        names[name] = out
    if len(names) > 1:
        listed = ", ".join(f"{name!r} ({source})" for name, source in sorted(names.items()))
        raise MergeError(
            f"these are results of several experiments: {listed}; a folder in which nothing was collected yet has to "
            "be named like its experiment"
        )
    if out.absolute().name not in names:
        (name,) = names
        raise MergeError(
            f"{out}: results of the experiment {name!r} are looked for in a folder of that name; "
            f"write to {out.parent / name}"
        )


def _experiment(root: Path) -> str | None:
    """As its records name it; None where there are none yet."""
    try:
        with open(root / "records.jsonl", encoding="utf-8") as file:
            name = json.loads(file.readline())["experiment"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _distinct(folders: Iterable[Path]) -> list[Path]:
    return list({folder.resolve(): folder for folder in folders}.values())


def _gather(roots: Iterable[Path], merged: MergedFolders) -> dict[Path, list[list[_Found]]]:
    """All whole encodings by their place, equal ones together, in the order of `roots`."""
    groups: dict[Path, dict[str, list[_Found]]] = {}
    for root in roots:
        for path in sorted((root / _ENCODINGS).glob(_DEPTH)):
            found, fault = _look(root, path)
            if found is None:
                merged.damaged.append(plain(f"{path}: {fault}"))
            else:
                groups.setdefault(found.place, {}).setdefault(found.made, []).append(found)
    return {place: list(group.values()) for place, group in sorted(groups.items())}


def _look(root: Path, path: Path) -> tuple[_Found | None, str]:
    """An encoding after a look at all of its bytes, or what is wrong with it."""
    if not path.is_file():
        return None, "it is not a file"
    result, fault = examine(EncodeResult, path)
    if result is None:
        return None, fault or "it has just vanished"
    if not all((path.parent / file.file).is_file() for file in result.files):
        return None, "a file of it is missing"
    if not result.files_are_whole(path.parent):
        return None, "a file of it is not what was written"
    place = path.relative_to(root / _ENCODINGS)
    try:
        time = moment(result.provenance.time, result.status)
    except ValueError as error:
        return None, str(error)
    digest, made = (hashlib.sha256(text.encode()).hexdigest() for text in (result.model_dump_json(), _made(result)))
    origin = Origin.of(place.parts[0].rpartition("-")[2], result.provenance, result.container)
    return _Found(root, place, digest, made, result.status, time, origin), ""


def _made(result: EncodeResult) -> str:
    """What is the same wherever the same was encoded to the same files, by another machine and in another time, too; of
    a failure, which has none, all that is known."""
    if result.status != "ok":
        return result.model_dump_json()
    files = sorted((file.snapshot, file.file, file.sha256) for file in result.files)
    start = result.start.file_sha256 if result.start is not None else None
    # That times were measured at all, and how often, is no chance of the machine.
    asked = result.n_target, start, sorted(result.snapshots_wanted), result.timed, len(result.encode_seconds_all)
    return json.dumps([result.pixel_sha256, files, *asked])


def _choose(groups: dict[Path, list[list[_Found]]], out: Path, rule: Rule, merged: MergedFolders) -> list[_Found]:
    """The encoding of each place that stays."""
    chosen, lost = [], []
    for place, group in groups.items():
        rivals = [equal for equal in group if equal[0].status != "not_run"]
        merged.yielded += len(group) - len(rivals)
        if not rivals:
            continue
        best = max(rivals, key=lambda equal: max(found.rank(rule) for found in equal))
        stays = best[0]
        chosen.append(stays)
        merged.repeated += len({found.digest for found in best}) > 1
        others = [found for equal in rivals if equal is not best for found in equal]
        if others:
            roots = ", ".join(sorted(str(found.root) for found in others))
            merged.conflicts.append(plain(f"{place.with_suffix('')}: that of {stays.root} stays instead of {roots}"))
            lost += [found.path for found in others if found.root.resolve() == out.resolve()]
    if merged.conflicts and rule == "fail":
        raise MergeError(
            f"{len(merged.conflicts)} results stand in the folders with different content; nothing was written. "
            f"Choose with --on-conflict newest or ok-first:\n{_listed(merged.conflicts)}"
        )
    if lost:
        raise MergeError(
            f"{out} holds {len(lost)} results that would be replaced ({lost[0]} is one); nothing was written: "
            "write to a folder that is not there yet, and name this one among the sources"
        )
    return chosen


def _listed(conflicts: Sequence[str]) -> str:
    places = [conflict.partition(": that of ")[0] for conflict in conflicts]
    more = [f"... and {len(places) - _NAMED} more"] if len(places) > _NAMED else []
    return "\n".join(f"  {place}" for place in [*places[:_NAMED], *more])


def _copy(found: _Found, out: Path) -> None:
    """Files first, and looked at again, the JSON that vouches for them last."""
    result = read_result(EncodeResult, found.path)
    if result is None:
        raise MergeError(f"{found.path} was changed meanwhile; repeat the command")
    target = out / _ENCODINGS / found.place
    for file in result.files:
        write_atomic(target.parent / file.file, _checked(found.path.parent / file.file, file.sha256))
    write_result(target, result)


def _checked(path: Path, sha256: str) -> Iterator[bytes]:
    """A file in blocks. Its name may be that of a large one now."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            yield block
    if digest.hexdigest() != sha256:
        raise MergeError(f"{path} was changed meanwhile; repeat the command")


def _warnings(experiment: str, chosen: Iterable[_Found]) -> Iterator[str]:
    mixtures, ahead, now = Mixtures(), [], datetime.now(UTC)
    for found in chosen:
        entry = found.place.parts[0].rpartition("-")[0]
        mixtures.add(experiment, entry, found.origin)
        if ahead_of_now(found.time, now):
            ahead.append(found.path)
    yield from mixtures.warnings()
    if ahead:
        yield (
            f"{len(ahead)} results were made after now by their machine's clock ({ahead[0]} is one): it was wrong, and "
            "--on-conflict newest and ok-first trust it"
        )
