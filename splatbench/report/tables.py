"""A table once, written as Markdown, CSV and LaTeX (and by the page's template as HTML)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal

from tabulate import tabulate

from splatbench.report.csv_text import to_csv_text

_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

#: Characters that LaTeX's standard fonts lack, after escaping.
_LATEX = {
    "\u202f": r"\,",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "−": r"$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "²": r"$^2$",
    "–": "--",
    "†": r"\textdagger{}",
    "\u2060": "{}",
}


@dataclass(frozen=True)
class Cell:
    """What a person reads, and the unrounded value for a program (None: nothing there)."""

    text: str
    value: float | int | str | None = None
    kind: str = ""  # a style: "reproduced", "worse", "muted", "best" ...
    hint: str = ""


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        key: heading of the CSV.
        numeric: whether it is aligned to the right.
        hint: what it means.
        on_paper: in LaTeX, whose pages are narrow: a column; a mark that leads to a note below, for sentences; or left
            out, for what is of lesser interest.
    """

    key: str
    heading: str
    numeric: bool = False
    hint: str = ""
    on_paper: Literal["column", "note", "left out"] = "column"


@dataclass(frozen=True)
class Table:
    """Columns, rows of cells, and the sentences that must stand below."""

    id: str
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)
    dataset: str = ""
    track: str = ""

    def without_empty_columns(self, keep: tuple[str, ...] = ()) -> Table:
        """The table less the columns in which no row has a value."""
        used = [
            i
            for i, column in enumerate(self.columns)
            if column.key in keep or any(row[i].value not in (None, "") for row in self.rows)
        ]
        return replace(
            self, columns=[self.columns[i] for i in used], rows=[[row[i] for i in used] for row in self.rows]
        )


def text_cell(text: str, kind: str = "", hint: str = "") -> Cell:
    return Cell(text, text, kind, hint)


def to_markdown(table: Table, level: int = 3) -> str:
    """GitHub Markdown: heading, table, notes. Names cannot break out of their cells."""
    heading = f"{'#' * level} {escape_markdown(table.title)}\n"
    body = tabulate(
        [[escape_markdown(cell.text) for cell in row] for row in table.rows],
        headers=[escape_markdown(column.heading) for column in table.columns],
        tablefmt="pipe",
        colalign=["right" if column.numeric else "left" for column in table.columns] if table.rows else None,
        disable_numparse=True,
    )
    notes = "\n".join(f"- {escape_markdown(note)}" for note in table.notes)
    return f"{heading}\n{body}\n" + (f"\n{notes}\n" if notes else "")


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in one line; controls of terminals and of writing direction are replaced."""
    text = _CONTROLS.sub("\ufffd", re.sub(r"\s*[\r\n]+\s*", " ", text))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\|*_`\[\]])", r"\\\1", text)


def to_csv(table: Table) -> str:
    """Comma-separated, unrounded values, one heading line."""
    head = [column.key for column in table.columns]
    return to_csv_text([head, *([cell.value for cell in row] for row in table.rows)])


def to_latex(table: Table) -> str:
    """A floating table in the booktabs style, at most as wide as the text (`\\usepackage{booktabs,graphicx}`).

    All text is escaped. Columns stand where their `on_paper` says.
    """
    table = _for_paper(table)
    # At the start of a line, "[" and "*" would be arguments of the line break before: an empty group keeps them apart.
    body = tabulate(
        [["\u2060" + cell.text if cell.text[:1] in ("[", "*") else cell.text for cell in row] for row in table.rows],
        headers=[column.heading for column in table.columns],
        tablefmt="latex_booktabs",
        colalign=["right" if column.numeric else "left" for column in table.columns] if table.rows else None,
        disable_numparse=True,
    )
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape_latex(table.title)}}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', table.id)}}}",
        r"\small",
        # Wide tables shrink; narrow ones are not blown up.
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        _latex_symbols(body) + "}",
        *(rf"\par\footnotesize {escape_latex(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _for_paper(table: Table) -> Table:
    """The table less what is left out or empty, with sentences as notes; equal sentences share one."""
    table = table.without_empty_columns() if table.rows else table
    columns = [replace(c, heading="Notes") if c.on_paper == "note" else c for c in table.columns]
    places = [i for i, column in enumerate(columns) if column.on_paper != "left out"]
    marks: dict[str, str] = {}
    rows = []
    for row in table.rows:
        cells = []
        for i in places:
            cell = row[i]
            if columns[i].on_paper == "note" and cell.value:
                cell = replace(cell, text=marks.setdefault(cell.text, _letters(len(marks))))
            cells.append(cell)
        rows.append(cells)
    notes = [*(f"{mark}: {sentence}" for sentence, mark in marks.items()), *table.notes]
    return replace(table, columns=[columns[i] for i in places], rows=rows, notes=notes)


def _letters(index: int) -> str:
    """0 -> "a", 25 -> "z", 26 -> "aa"."""
    text = ""
    while index >= 0:
        text = chr(ord("a") + index % 26) + text
        index = index // 26 - 1
    return text


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is."""
    special = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        **{character: rf"\{character}" for character in "&%$#_{}"},
    }
    return _latex_symbols("".join(special.get(character, character) for character in " ".join(text.split())))


def _latex_symbols(text: str) -> str:
    for character, replacement in _LATEX.items():
        text = text.replace(character, replacement)
    return text
