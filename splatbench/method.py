"""The Method interface, and how methods are found: one folder in `methods/`, one class each."""

from __future__ import annotations

import abc
import dataclasses
import difflib
import functools
import importlib.util
import os
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from splatbench.budget import Budget
from splatbench.gaussians import Blend, Gaussians2D
from splatbench.record import Implementation
from splatbench.trace import Trace

if TYPE_CHECKING:
    from splatbench.render import LayeredPicture
    from splatbench.training.labels import LabelMaker
    from splatbench.training.task import Task

#: What a decoder returns: Gaussians, a picture made of several sets of them, or for pixel codecs (controls) the picture
#: itself, uint8 [H, W, 3].
Decoded: TypeAlias = "Gaussians2D | LayeredPicture | np.ndarray"


class MethodError(ValueError):
    """An unknown method, or a setting that the method does not have."""


class Unavailable(MethodError):
    """What a method needs is not on this machine: its rows say `not_run`, and how to get it."""


class WeightsMissing(Unavailable):
    """Weights that a method needs are not on this machine."""


class Method(abc.ABC):
    """One way to turn an image into bytes. `methods/<name>/__init__.py` holds exactly one concrete subclass."""

    title: ClassVar[str]
    paper: ClassVar[str] = ""  # citation, or "" for a control
    blend: ClassVar[Blend] = "sum"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)  # device types that `encode` runs on
    on_request: ClassVar[tuple[str, ...]] = ()  # more of them, not measured yet: only for users who name them
    suffixes: ClassVar[tuple[str, ...]] = (".s2d",)  # of the files that from_bytes reads
    implementation: ClassVar[Implementation] = "ours"  # of its rows, unless the experiment's entry says another
    outside: ClassVar[bool] = False  # whether another process does the work of `encode`; `Trace.outside` tells of it
    control: ClassVar[bool] = False  # a control (identity, JPEG, random ...) rather than a contender
    channels: ClassVar[range] = range(3, 4)  # of the pictures that `encode` takes; more than RGB: texture stacks
    budgets: ClassVar[tuple[str, ...]] = ("gaussians", "compression_ratio", "matched_to")  # targets it can meet
    warm: ClassVar[bool] = False  # whether it has `encode_from`
    Config: ClassVar[type]  # a frozen dataclass; every default carries its source in a comment
    version: ClassVar[int] = 1  # raise it when a change of the code changes results: they are then made again
    name: ClassVar[str] = ""  # the folder's name, set by discovery

    def __init__(self, config: Any, device: str = "cpu") -> None:
        self.config = config
        self.device = device

    @property
    def container(self) -> Mapping[str, str] | None:
        """What does the work of `encode` in its place, as fields of `splatbench.record.ContainerImage`: also rows that
        fail name it. None where this process does it, or a file has the result."""
        return None

    @property
    def suffix(self) -> str:
        """Of the file that `to_bytes` makes; one of `suffixes`."""
        return self.suffixes[0]

    def prepare(self) -> None:  # noqa: B027  (optional hook)
        """Loads weights, compiles, warms up: never timed."""

    @abc.abstractmethod
    def encode(self, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Any:
        """image uint8 [H, W, C], C one of `channels` -> the method's encoding; timed.

        Same image, budget, config and seed give the same encoding on the same device.
        """

    def encode_from(self, start: Gaussians2D, image: np.ndarray, budget: Budget, trace: Trace, seed: int = 1) -> Any:
        """As `encode`, but from the given Gaussians, not from the method's own start; none are added.

        Args:
            start: Gaussians of any blend for this picture; splatbench.fitting.warm converts them.
            budget: counts `len(start)` Gaussians.

        Raises:
            MethodError: the method has no way to begin from Gaussians.
            ValueError: the start does not fit the image or the budget.
        """
        raise MethodError(f"{self.title} cannot begin from the Gaussians of another entry")

    @abc.abstractmethod
    def to_bytes(self, encoding: Any) -> bytes:
        """The encoding as the file's content; timed apart."""

    @staticmethod
    @abc.abstractmethod
    def from_bytes(data: bytes) -> Decoded:
        """Needs nothing but the bytes.

        Raises:
            splatbench.codec.BitstreamError: the bytes are not such a file.
        """

    def decode(self, data: bytes, clock: Trace | None = None) -> Decoded:
        """The picture of a file's content. `from_bytes`, unless the files of this configuration need more than their
        bytes: the decoder of a method that runs in a container is in the container's image.

        Args:
            clock: runs while this decodes; a decoder pauses it for what is not decoding (the start of a container).

        Raises:
            splatbench.codec.BitstreamError: the bytes are not such a file.
            Unavailable: what the decoder needs is not on this machine.
        """
        return self.from_bytes(data)

    @classmethod
    def outdated(cls, config: Any) -> str | None:
        """Why rows of this configuration are not what would be made today, as far as the configuration cannot tell:
        an image whose name now stands for another content. None where nothing is known against them."""
        return None

    def nominal_bits(self, encoding: Any) -> int | None:
        """The paper's own bit count of this encoding (a formula), or None where the paper gives none."""
        return None

    def check_image(self, image: np.ndarray) -> None:
        """Raises MethodError unless `image` is uint8 [H, W, C], not empty, with a number of channels that is taken."""
        if image.dtype != np.uint8 or image.ndim != 3 or image.size == 0:
            raise MethodError(f"{self.title} takes uint8 [H, W, C], got {image.dtype} {list(image.shape)}")
        if image.shape[2] not in self.channels:
            first, last = self.channels[0], self.channels[-1]
            takes = f"{first} to {last}" if last > first else str(first)
            raise MethodError(f"{self.title} takes {takes} channels, the picture has {image.shape[2]}")

    def count_for(self, image: np.ndarray, budget: Budget) -> int:
        """Number of Gaussians that a budget gives for an image, uint8 [H, W, C].

        Raises:
            MethodError: not such an image; or the budget fixes none, or more than the picture has pixels.
        """
        self.check_image(image)
        height, width = image.shape[:2]
        n = budget.count(height, width)
        if n is None:
            takes = ", ".join(self.budgets)
            raise MethodError(f"{self.title} takes one of {takes}, got {budget.as_dict()}")
        if n > height * width:
            raise MethodError(f"{n} Gaussians are more than the {width}x{height} pixels of the picture; ask for fewer")
        return n

    @classmethod
    def devices_for(cls, wanted: str) -> tuple[str, ...]:
        """Device types to choose from where the user wants `auto`, or a type by name."""
        return cls.devices if wanted == "auto" else (*cls.devices, *cls.on_request)

    @classmethod
    def training_task(cls, settings: Mapping[str, Any], phase: str) -> Task:
        """What `splatbench train` does in one phase of a method that learns; docs/train.md.

        Args:
            settings: the `settings` of the training file, plain values not yet checked.

        Raises:
            MethodError: there is nothing to train, no such phase, or a setting that the phase does not have.
        """
        raise MethodError(f"{cls.title} has nothing to train")

    @classmethod
    def make_labels(cls, settings: Mapping[str, Any]) -> LabelMaker:
        """What `splatbench labels` makes of each training picture, for a method whose task learns with labels.

        Args:
            settings: plain values not yet checked.

        Raises:
            MethodError: its training needs no labels, or has no such setting.
        """
        raise MethodError(f"the training of {cls.title} needs no labels")

    @classmethod
    def fingerprint(cls, config: Any) -> str:
        """What results depend on beside the version and the settings: the content of the weights that they name. Empty
        where there is nothing; it is part of the path of results, so other weights never pass for these."""
        return ""

    @classmethod
    def make_config(cls, settings: Mapping[str, Any]) -> Any:
        """A Config from a mapping (an experiment's YAML).

        Raises:
            MethodError: unknown key (names the nearest valid one) or a value of the wrong type.
        """
        return build_dataclass(cls.Config, settings, where=f"method {cls.name or cls.__name__}")


def nearest(word: str, choices: typing.Iterable[str]) -> str:
    """ "; did you mean 'x'?" for the closest choice, then the list of all."""
    names = sorted(choices)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return (f"; did you mean {close[0]!r}?" if close else "") + f" (known: {', '.join(names)})"


def build_dataclass(kind: type, settings: Mapping[str, Any], where: str) -> Any:
    """An instance of a flat dataclass from plain values, checked against its annotations."""
    from pydantic import TypeAdapter, ValidationError

    fields = {f.name for f in dataclasses.fields(kind)}
    for key in settings:
        if key not in fields:
            raise MethodError(f"{where}: unknown setting {key!r}{nearest(str(key), fields)}")
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    try:
        return adapter.validate_python(dict(settings))
    except ValidationError as error:
        found = [(".".join(map(str, e["loc"])), e["msg"].removeprefix("Value error, ")) for e in error.errors()]
        problems = "; ".join(f"{at}: {text}" if at else text for at, text in found)
        raise MethodError(f"{where}: {problems}") from None
    except ValueError as error:
        raise MethodError(f"{where}: {error}") from None


def method_folders() -> list[Path]:
    """Folders that hold methods: `SPLATBENCH_METHODS` (several, separated like PATH) before the project's own."""
    extra = [Path(p).expanduser() for p in os.environ.get("SPLATBENCH_METHODS", "").split(os.pathsep) if p]
    return [*extra, Path(__file__).resolve().parent.parent / "methods"]


def available() -> dict[str, Path]:
    """Method names and their folders, in alphabetical order; earlier folders win."""
    found: dict[str, Path] = {}
    for root in method_folders():
        if root.is_dir():
            for folder in sorted(root.iterdir()):
                if (folder / "__init__.py").is_file() and not folder.name.startswith((".", "_")):
                    found.setdefault(folder.name, folder)
    return dict(sorted(found.items()))


@functools.cache
def _load(name: str, folder: Path) -> type[Method]:
    module = _import_folder(name, folder)
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Method)
        and not getattr(value, "__abstractmethods__", None)
        and value.__module__.startswith(module.__name__)
    ]
    if len(classes) != 1:
        raise MethodError(f"{folder}/__init__.py must hold exactly one Method, found {[c.__name__ for c in classes]}")
    classes[0].name = name
    return classes[0]


def _import_folder(name: str, folder: Path) -> ModuleType:
    """Imports a method's folder as a package of its own, so that its files may use relative imports."""
    qualified = f"splatbench_methods.{name}"
    if "splatbench_methods" not in sys.modules:
        parent = ModuleType("splatbench_methods")
        parent.__path__ = []
        sys.modules["splatbench_methods"] = parent
    spec = importlib.util.spec_from_file_location(
        qualified, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[qualified] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(qualified, None)
        raise
    return module


def get_method(name: str) -> type[Method]:
    """The Method class of a name.

    Raises:
        MethodError: no such method; names the nearest.
    """
    methods = available()
    if name not in methods:
        raise MethodError(f"unknown method {name!r}{nearest(name, methods)}")
    return _load(name, methods[name])
