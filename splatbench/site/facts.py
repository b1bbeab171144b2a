"""Facts of methods that no code holds (reports/methods.yaml): papers, licences, what is known against them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from splatbench.report.reference import reports_folder

Kind = Literal["fitting", "network", "external", "codec", "control"]


class FactsError(ValueError):
    """reports/methods.yaml is missing or does not fit the schema."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Correction(_Strict):
    """A known error of a method's released code.

    Attributes:
        what: the error, in one sentence.
        switch: the settings that repeat it; empty where there is nothing to repeat.
    """

    what: str
    switch: str = ""


class MethodFacts(_Strict):
    """What the site says about a method, beside what its code says.

    Attributes:
        kind: how it turns a picture into Gaussians or bytes.
        description: a paragraph of plain text.
        bibtex, url, code, licence: of the paper and of the released code; empty where there is none.
        names: the method's names in papers' tables; "name (variant)" and "name, variant" belong to it, too.
        not_repeated: rows of papers' tables that this project does not repeat, and why.
        needs: what its published numbers need that cannot be had here, with what to do; empty: nothing.
        weaknesses: what is known against it.
        corrections: known errors of its released code.
    """

    title: str
    kind: Kind
    description: str
    bibtex: str = ""
    url: str = ""
    code: str = ""
    licence: str = ""
    names: tuple[str, ...] = ()
    not_repeated: dict[str, str] = Field(default_factory=dict)
    needs: str = ""
    weaknesses: tuple[str, ...] = ()
    corrections: tuple[Correction, ...] = ()


@functools.cache
def method_facts() -> dict[str, MethodFacts]:
    """Folder name of a method -> its facts.

    Raises:
        FactsError: the file cannot be read, or names file and key that do not fit.
    """
    return read_facts(reports_folder() / "methods.yaml")


def read_facts(path: Path) -> dict[str, MethodFacts]:
    """As `method_facts`, of any file."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return {str(name): MethodFacts.model_validate(facts) for name, facts in dict(content).items()}
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise FactsError("\n".join(f"{path}: {problem}" for problem in problems)) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, ValueError) as error:
        raise FactsError(f"cannot read {path}: {error}") from None


def method_of(family: str) -> str | None:
    """The method that a name of a paper's table belongs to; None for a method that this project does not have."""
    for method, facts in method_facts().items():
        if any(family == name or family.startswith((f"{name} (", f"{name}, ")) for name in facts.names):
            return method
    return None
