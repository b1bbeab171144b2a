"""Seeded damage to files of a folder."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

#: Does the damage and says in words what it did. Given a file, all files, and where chance comes from.
Damage = Callable[[Path, list[Path], random.Random], str]


def truncate(path: Path, files: list[Path], chance: random.Random) -> str:
    data = path.read_bytes()
    length = chance.randrange(len(data)) if data else 0
    path.write_bytes(data[:length])
    return f"cut to {length} of {len(data)} bytes"


def empty(path: Path, files: list[Path], chance: random.Random) -> str:
    path.write_bytes(b"")
    return "emptied"


def zeros(path: Path, files: list[Path], chance: random.Random) -> str:
    """What a file system may leave after a power cut: the length is there, the content is not."""
    path.write_bytes(bytes(path.stat().st_size))
    return "zeros of the same length"


def noise(path: Path, files: list[Path], chance: random.Random) -> str:
    path.write_bytes(chance.randbytes(chance.randrange(1, 5000)))
    return "random bytes"


def flip_bits(path: Path, files: list[Path], chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    places = [chance.randrange(8 * len(data)) for _ in range(chance.randint(1, 4))] if data else []
    for place in places:
        data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    return f"bits {places} flipped"


def other_digit(path: Path, files: list[Path], chance: random.Random) -> str:
    """Another number that is as valid: what no parser finds."""
    data = bytearray(path.read_bytes())
    digits = [found.start() for found in re.finditer(rb"\d", data)]
    if not digits:
        return flip_bits(path, files, chance)
    place = chance.choice(digits)
    data[place] = chance.choice([digit for digit in b"0123456789" if digit != data[place]])
    path.write_bytes(data)
    return f"digit {place} changed"


def without_digest(path: Path, files: list[Path], chance: random.Random) -> str:
    """The digest removed or emptied, or the layout lowered to that of before there were any: one of them."""
    if path.suffix != ".json" or not path.read_bytes().startswith(b"{"):
        return flip_bits(path, files, chance)
    text = path.read_text(errors="replace")
    old, new = chance.choice(
        [(r',?\s*"digest": "\w*"', ""), (r'"digest": "\w*"', '"digest": null'), (r'"layout": 2', '"layout": 1')]
    )
    path.write_text(re.sub(old, new, text))
    return f"{old} replaced by {new!r}"


def swap(path: Path, files: list[Path], chance: random.Random) -> str:
    """Each of two whole files in the other's place."""
    other = chance.choice([file for file in files if file.suffix == path.suffix and file != path] or [path])
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)
    return f"exchanged with {other}"


def swap_folders(path: Path, files: list[Path], chance: random.Random) -> str:
    """All results of one run in the place of another: every file fits the others beside it."""
    one = path.parent
    others = sorted({file.parent for file in files} - {one})
    two = chance.choice(others) if others else one  # an earlier damage may have taken the others away
    if not others or one in two.parents or two in one.parents:
        return swap(path, files, chance)
    aside = one.with_name("aside")
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    return f"folder exchanged with {two}"


def delete(path: Path, files: list[Path], chance: random.Random) -> str:
    path.unlink()
    return "deleted"


def delete_folder(path: Path, files: list[Path], chance: random.Random) -> str:
    shutil.rmtree(path.parent)
    return f"its folder {path.parent.name} deleted"


def strangers(path: Path, files: list[Path], chance: random.Random) -> str:
    """Files that nobody knows, and what a killed job leaves."""
    for name in (".DS_Store", f".{path.name}.abcd1234.part", "notes.json", "core"):
        (path.parent / name).write_bytes(chance.randbytes(50))
    (path.parent / "empty folder").mkdir(exist_ok=True)
    return "unknown files beside it"


def symlink(path: Path, files: list[Path], chance: random.Random) -> str:
    """A link to another file of its kind, or to nowhere."""
    alike = [file for file in files if file.suffix == path.suffix and file != path]
    target = chance.choice([*alike, path.with_name("nowhere")])
    path.unlink()
    path.symlink_to(target)
    return f"a link to {target}"


#: Damage that a rerun repairs by itself.
REPAIRED: tuple[Damage, ...] = (
    truncate, empty, zeros, noise, flip_bits, other_digit, swap, swap_folders, delete, delete_folder, strangers,
    symlink, without_digest,
)  # fmt: skip


def file_to_folder(path: Path, files: list[Path], chance: random.Random) -> str:
    path.unlink()
    path.mkdir()
    (path / "somebody's").write_text("file")
    return "a folder with a file in its place"


def folder_to_file(path: Path, files: list[Path], chance: random.Random) -> str:
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")
    return "a file in place of its folder"


#: Damage that a rerun can only report: what is in the way may be somebody's.
REPORTED: tuple[Damage, ...] = (file_to_folder, folder_to_file)
