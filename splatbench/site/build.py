"""Writes the site. Equal records give equal bytes: there is no clock in it, and no order by chance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from splatbench.files import write_atomic
from splatbench.record import Record
from splatbench.report.labels import budget_label, count, heading, meaning, number, signed, significant
from splatbench.report.reference import reports_folder
from splatbench.results.reading import LineError, lines_of, parse, record_files
from splatbench.site import about, board, datasets, images, methods, overview, rates, times, verdicts
from splatbench.site.links import slug
from splatbench.site.page import NAVIGATION, Data, Page, Site
from splatbench.site.rows import site_rows

#: Each makes some pages, and the data that they read.
PARTS: tuple[Callable[[Site], Iterable[Page | Data]], ...] = (
    board.pages,
    rates.pages,
    times.pages,
    verdicts.pages,
    methods.pages,
    datasets.pages,
    images.pages,
    about.pages,
    overview.pages,
)

#: In every site's folder: what was written there, so that the next build can remove what it does not write again.
MANIFEST = "files.txt"


@dataclass(frozen=True)
class Built:
    """What was written: number of files and bytes, without pictures and encoded files, and of these."""

    index: Path
    files: int
    bytes: int
    picture_files: int
    picture_bytes: int
    problems: list[str] = field(default_factory=list)  # pictures that could not be made, and why


def gather(paths: Sequence[Path]) -> list[Record]:
    """The records of files, and of the .jsonl files directly in folders, in a fixed order.

    Raises:
        ValueError: a path that does not exist, a folder without records, a line that is no record, or two different
            rows for the same measurement.
    """
    records: dict[tuple[str, ...], Record] = {}
    for file in record_files(paths):
        for place, line in lines_of(file):
            try:
                record = parse(line)
            except LineError as error:
                raise ValueError(
                    f"{place}: {error} (`splatbench results validate {place.path}` lists every such line)"
                ) from None
            if records.setdefault(record.key, record) != record:
                raise ValueError(
                    f"{place}: a second, different row for {record.entry} on {record.image} ({record.budget_slug}, "
                    f"{record.snapshot}); `splatbench results merge` resolves conflicts, `validate` lists them"
                )
    if not records:
        raise ValueError(f"{', '.join(map(str, paths))}: the files are empty; there is nothing to show")
    return list(records.values())


def build(records: Sequence[Record], out: Path, *, results: Path | None = None, store: Path | None = None) -> Built:
    """Writes all pages below `out`, and removes what an earlier build left there.

    Args:
        results: folder of experiments' results with encoded files, for pictures.
        store: folder of published encoded files, named by their hash.

    Raises:
        ValueError: there are no records, or `out` holds files that are not a site's.
        OSError: `out` cannot be written.
    """
    if not records:
        raise ValueError("there are no records to show")
    old = _old_files(out)
    site = Site(list(records), site_rows(records), results, store)
    sizes: dict[str, int] = {}
    for path, content in _contents(site):
        if path in sizes:
            raise ValueError(f"two pages of the site are called {path}")
        write_atomic(out / path, content)
        sizes[path] = len(content)
    _remove(out, old - sizes.keys())
    write_atomic(out / MANIFEST, "".join(f"{path}\n" for path in sorted(sizes)).encode())
    pictures = [size for path, size in sizes.items() if path.startswith(("pictures/", "files/"))]
    total = sum(sizes.values())
    mine = total - sum(pictures)
    return Built(out / "index.html", len(sizes) - len(pictures), mine, len(pictures), sum(pictures), site.problems)


def _old_files(out: Path) -> set[str]:
    """What an earlier build wrote. A folder with anything else is not ours to write into."""
    manifest = out / MANIFEST
    if manifest.is_file():
        return {line for line in manifest.read_text(encoding="utf-8").splitlines() if line}
    if out.is_dir() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty and not a site; give another folder with --out, or empty it")
    return set()


def _remove(out: Path, paths: Iterable[str]) -> None:
    root = out.resolve()
    for path in paths:
        target = (out / path).resolve()
        if target.is_relative_to(root) and target.is_file():
            target.unlink()
            for folder in target.parents:
                if folder == root or any(folder.iterdir()):
                    break
                folder.rmdir()


def _contents(site: Site) -> Iterator[tuple[str, bytes]]:
    """Every file of the site: assets, data, then pages."""
    yield from _assets()
    environment = make_environment()
    for part in PARTS:
        for item in part(site):
            if isinstance(item, Data):
                yield item.path, item.content
            else:
                yield item.path, render(environment, site, item).encode()


def _assets() -> Iterator[tuple[str, bytes]]:
    folder = reports_folder() / "site" / "assets"
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"assets/{path.relative_to(folder).as_posix()}", path.read_bytes()
    # The report of one experiment and the site share their style.
    yield "assets/style.css", (reports_folder() / "templates" / "style.css.j2").read_bytes()


def make_environment() -> Environment:
    """Templates of the site and of reports; everything is escaped."""
    environment = Environment(
        loader=FileSystemLoader([reports_folder() / "site" / "templates", reports_folder() / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "budget": budget_label,
        "count": count,
        "heading": heading,
        "meaning": meaning,
        "number": number,
        "signed": signed,
        "significant": significant,
        "slug": slug,
    }
    return environment


def render(environment: Environment, site: Site, page: Page) -> str:
    return environment.get_template(page.template).render(
        site=site, page=page, root=page.root, navigation=NAVIGATION, **page.context
    )
