"""Damaged files: the picture, the arrays, or BitstreamError; never another exception, a hang, or much memory."""

from __future__ import annotations

import hashlib
import resource
import time
from collections import Counter

import numpy as np
import torch

from splatbench.budget import Budget
from splatbench.codec import Attribute, BitstreamError, decode, read, spatial_order, write
from splatbench.gaussians import Gaussians2D
from splatbench.method import available, get_method
from splatbench.trace import Trace

#: Bytes of a header that a mutation goes for more often.
HEADER_BYTES = 100
SECONDS_PER_FILE = 2.0  # of this process; a file takes about a millisecond
MEBIBYTES = 300  # growth of the whole process over all files


def from_method(name: str, budget: Budget, **settings: object) -> tuple[str, bytes]:
    kind = get_method(name)
    method = kind(kind.make_config(settings))
    image = np.random.default_rng(0).integers(0, 256, (17, 23, 3)).astype(np.uint8)
    return method.suffix, method.to_bytes(method.encode(image, budget, Trace()))


def gaussianimage(n: int, variant: str) -> bytes:
    rng = np.random.default_rng(1)
    xyz = rng.normal(size=(n, 2)).astype(np.float16)
    arrays = [
        Attribute("xyz", xyz[spatial_order(xyz)]),
        Attribute("covariance", rng.binomial(63, 0.4, (n, 3)).astype(np.uint16)),
        Attribute("colors", rng.binomial(7, 0.3, (n, 2)).astype(np.uint8)),
        Attribute("step", rng.random(3).astype(np.float32)),
        Attribute("beta", rng.random(3).astype(np.float32)),
        Attribute("codebooks", rng.random((2, 8, 3)).astype(np.float32)),
    ]
    return write("gaussianimage", (32, 48), "sum", {"tile_cap_256"}, arrays, {"variant": variant})


def every_coder() -> bytes:
    rng = np.random.default_rng(2)
    positions = rng.normal(size=(60, 2)).astype(np.float32)
    arrays = [
        Attribute("means", positions[spatial_order(positions)]),
        Attribute("a", rng.integers(0, 2**32, 50).astype(np.uint32), "entropy"),
        Attribute("b", rng.binomial(4095, 0.1, (90, 2)).astype(np.uint16), "entropy"),
        Attribute("c", rng.integers(-4, 9, (20, 3)).astype(np.int16)),
        Attribute("d", np.full((30, 2), 2.5, np.float16)),
        Attribute("e", rng.integers(0, 2, 99).astype(np.uint8), "raw"),
        Attribute("f", np.zeros((0, 4), np.float32)),
    ]
    return write("nobody", (5, 7), "alpha", (), arrays, {"count": 9, "gain": 0.25, "note": "text"})


def base_files() -> list[tuple[str, bytes]]:
    files = [("arrays", every_coder())]
    files += [from_method("random_gaussians", Budget(gaussians=n)) for n in (1, 40)]
    files += [from_method("downsample", Budget(gaussians=30)), from_method("identity", Budget(native=True))]
    files += [from_method("codecs", Budget(quality=60), codec=codec) for codec in ("jpeg", "webp", "avif", "jxl")]
    files += [from_method("codecs", Budget(native=True), codec=codec, lossless=True) for codec in ("webp", "jxl")]
    if "gaussianimage" in available():
        files += [(".s2d", gaussianimage(n, v)) for n, v in ((50, "cholesky-q"), (400, "rs-q"))]
    return files


def mutate(data: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """One to four edits: bits, bytes, numbers, cuts, insertions, swapped and foreign blocks."""
    out = bytearray(data)
    for _ in range(min(4, rng.geometric(0.6))):
        size = len(out)
        if size < 2:
            break
        at = int(rng.integers(0, min(size, HEADER_BYTES) if rng.random() < 0.4 else size))
        length = int(rng.integers(1, 9))
        match int(rng.integers(0, 9)):
            case 0:
                out[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                out[at] = int(rng.choice([0, 1, 2, 3, 0x7F, 0x80, 0xFF, int(rng.integers(0, 256))]))
            case 2:
                out[at : at + length] = rng.bytes(length)
            case 3:
                del out[at:]
            case 4:
                out[at:at] = rng.bytes(length)
            case 5:
                del out[at : at + length]
            case 6:  # a large number where a small one stood
                out[at : at + 1] = b"\xff" * int(rng.integers(1, 10)) + bytes([int(rng.integers(0, 128))])
            case 7:
                to = int(rng.integers(0, size))
                out[at : at + length], out[to : to + length] = out[to : to + length], out[at : at + length]
            case 8:
                start = int(rng.integers(0, len(other)))
                out[at : at + 16 * length] = other[start : start + 16 * length]
    return bytes(out)


def seal(data: bytes) -> bytes:
    """The checksum made right again, so that the parser behind it is reached."""
    body = data[:-8]
    return body + hashlib.blake2b(body, digest_size=8).digest()


def outcome(suffix: str, data: bytes) -> str:
    try:
        result = read(data) if suffix == "arrays" else decode(data, suffix)
    except BitstreamError:
        return "refused"
    if isinstance(result, Gaussians2D):
        assert all(bool(torch.isfinite(value).all()) for value in result.tensors().values())
    elif isinstance(result, np.ndarray):
        assert result.dtype == np.uint8 and result.ndim == 3 and result.shape[2] == 3
    return "decoded"


def fuzz(count: int, seed: int) -> Counter[tuple[str, str]]:
    rng, files = np.random.default_rng(seed), base_files()
    for suffix, data in files:
        assert outcome(suffix, data) == "decoded", "the files must be good before they are damaged"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes: Counter[tuple[str, str]] = Counter()
    for i in range(count):
        suffix, data = files[i % len(files)]
        damaged = mutate(data, rng, files[int(rng.integers(0, len(files)))][1])
        sealed = rng.random() < 0.5 and suffix in ("arrays", ".s2d")
        damaged = seal(damaged) if sealed else damaged
        begin = time.process_time()
        try:
            result = outcome(suffix, damaged)
        except BaseException as error:
            raise AssertionError(
                f"file {i} of seed {seed}: {type(error).__name__}: {error}; {damaged.hex()}"
            ) from error
        assert time.process_time() - begin < SECONDS_PER_FILE, f"file {i} of seed {seed} took too long"
        outcomes["sealed" if sealed else "as it is", result] += 1
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEBIBYTES, f"the process grew by {grown:.0f} MiB"
    # Both ways must have been taken, or the mutations are too weak or too strong to mean anything.
    assert outcomes["sealed", "decoded"] > count / 100 and outcomes["sealed", "refused"] > count / 10
    return outcomes


def test_twenty_thousand_damaged_files() -> None:
    fuzz(20_000, seed=1)
