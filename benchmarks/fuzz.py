"""Changed files for every reader: each is read, or refused within seconds by an error that names it, and nothing else.

    python -m benchmarks.fuzz --minutes 10                  every reader for ten minutes
    python -m benchmarks.fuzz --only npz,recipe --seed 1

A case takes a whole file, changes it at random (bits, bytes, numbers, words of its format, pieces doubled, dropped or
exchanged, its end cut), and reads it. Where a checksum would stop every change at the door, the content behind it is
changed and signed anew, as somebody who means harm would. A fault is an error that neither names the file nor is one of
our own ("argument: expected ..., got ..."), more than SECONDS, or more than MEGABYTES; the exit code is then 1, and
--out stores the content. tests/test_untrusted.py reads some cases of each.
"""

import argparse
import io
import json
import random
import re
import resource
import struct
import sys
import tempfile
import time
import warnings
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

import gaussdiff as gd
import training
from analysis.comparison import verdicts
from analysis.experiments import STANDARD
from analysis.solvers import table
from gaussdiff import archives
from training import runs
from training.config import Config
from training.data import dataset, folder
from training.data.fingerprint import Contents
from training.page import journal, page
from training.step import Trainer
from training.storage import checkpoint, weights

SECONDS = 20  # for one file, on a machine that others share; from a law 10,000 samples are drawn in this time
MEGABYTES = 1000  # that reading one file may add to the most memory so far
OURS = re.compile(r"\w+: expected .*, got .*; \w+", re.DOTALL)
TINY = Config(data="toy-gaussian", channels=4, blocks=1, batch=4)
LENGTHS = (0, 1, 2, 2**7, 2**8 - 1, 2**15, 2**31 - 1, 2**32 - 1, 2**62, 2**63)
WORDS = [b"[" * 5000, b'{"a":' * 3000, b"NaN", b"-Infinity", b"1e999", b"null", b"true", b"-1", b"9" * 5000]
WORDS += [
    b"'<f8'",
    b"'|O'",
    b"'<U99999999'",
    b"(99999999999,)",
    b"(-1,)",
    b"\\u0000",
    b"../../x",
    b"\xff\xfe",
    b"\xc2\xb2",
]


class Reader(NamedTuple):
    """whole: contents to change. name: of the file or folder that is read. write: puts a content there."""

    whole: Callable[[], list[bytes]]
    name: str
    read: Callable[[Path], Any]
    write: Callable[[Path, bytes], Any] = Path.write_bytes


def mutated(content: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """The content with one to five changes."""
    for _ in range(draw.randint(1, 5)):
        content = _changed(content, draw, others)
    return content


def _changed(content: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    start = draw.randrange(len(content) + 1)
    end = min(len(content), start + draw.choice((1, 2, 4, 8, 40, 400)))
    before, piece, after = content[:start], content[start:end], content[end:]
    match draw.randrange(9):
        case 0:
            return before + bytes(each ^ 1 << draw.randrange(8) for each in piece[:1]) + content[start + 1 :]
        case 1:
            return before + draw.randbytes(len(piece)) + after
        case 2:
            return before + _number(draw) + after[8:]
        case 3:
            return before + draw.choice(WORDS) + after
        case 4:
            return before + piece * draw.randint(2, 50) + after
        case 5:
            return before + after
        case 6:
            return before
        case 7:
            other = draw.choice(others)
            place = draw.randrange(len(other) + 1)
            return before + other[place : place + draw.choice((4, 40, 400))] + after
    numbers = list(re.finditer(rb"\d+", content))
    if not numbers:
        return content
    one = draw.choice(numbers)
    return content[: one.start()] + str(draw.choice(LENGTHS)).encode() + content[one.end() :]


def _number(draw: random.Random) -> bytes:
    size = draw.choice((2, 4, 8))
    return (draw.choice(LENGTHS) % 256**size).to_bytes(size, draw.choice(("little", "big")))


def _saved(write: Callable[..., None], *arguments: Any, suffix: str) -> bytes:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / f"x{suffix}"
        write(path, *arguments)
        return path.read_bytes()


@cache
def _laws() -> list[bytes]:
    x = np.random.default_rng(0).normal(size=(8, 2, 2)).astype(np.float32)
    mixture = gd.GaussianMixture.from_samples(x, 2, key=jax.random.key(0))
    laws = (gd.Gaussian.from_samples(x, 2), gd.Diagonal.from_samples(x), mixture, gd.Empirical(x))
    return [_saved(gd.save, law, suffix=".npz") for law in laws]


def _recipes() -> list[bytes]:
    law = gd.Gaussian.from_moments(np.zeros(2, np.float32), np.eye(2, dtype=np.float32))
    samplers = (gd.Heun(), gd.DEIS(2, gd.Cosine()), gd.SwitchAt(gd.GaussianExact(law), gd.UniPC(2), 1.0))
    return [_saved(gd.save_recipe, sampler, gd.grids.karras(6), suffix=".json") for sampler in samplers]


def _unsigned(recipes: list[bytes]) -> list[bytes]:
    """As layout 1 wrote them, without a checksum."""
    heads = [json.loads(recipe) for recipe in recipes]
    return [json.dumps({**head, "gaussdiff": 1, "sha256": None}).encode() for head in heads]


def _heads() -> list[bytes]:
    """The descriptions in laws of layout 1."""
    heads = []
    for law in _laws():
        with np.load(io.BytesIO(law)) as file:
            heads.append(str(file["gaussdiff.json"]).encode())
    return _unsigned(heads)


def _write_law(path: Path, head: bytes) -> None:
    """A law of layout 1 with this description; the arrays are those of a Gaussian."""
    with np.load(io.BytesIO(_laws()[0])) as file:
        arrays = {name: file[name] for name in file.files if name != "gaussdiff.json"}
    np.savez(path, **{"gaussdiff.json": np.array(head.decode(errors="replace"))}, **arrays)


def _members() -> list[bytes]:
    arrays = np.zeros((3, 2), np.float32), np.arange(4), np.array("{}"), np.zeros(2, "<f4,<i8")
    return [_saved(np.save, each, suffix=".npy") for each in arrays]


def _write_archive(path: Path, member: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if len(member) % 2 else zipfile.ZIP_STORED) as file:
        file.writestr("x.npy", member)


@cache
def _trained() -> checkpoint.Checkpoint:
    """A state and the settings of a small run."""
    trainer = Trainer.create(TINY, (2,), None)
    with tempfile.TemporaryDirectory() as place:
        settings = runs.settings(trainer, Contents(8, 2, "0" * 64))
        return checkpoint.read(checkpoint.save(Path(place), 1, trainer.initial(), settings))


def _settings() -> list[bytes]:
    saved = _trained()
    return [json.dumps({"step": 1, **saved.settings}, indent=1).encode()]


def _write_run(path: Path, config: bytes) -> None:
    """A run whose checkpoint vouches for this config.json."""
    saved = _trained()
    final = checkpoint.save(path, 1, saved.arrays, {})
    (final / "config.json").write_bytes(config)
    _sign(final)


def _sign(final: Path) -> None:
    manifest = json.loads((final / "manifest.json").read_text())
    manifest["sha256"] = {name: checkpoint.checksum(final / name) for name in manifest["sha256"]}
    (final / "manifest.json").write_text(json.dumps(manifest))


def _manifests() -> list[bytes]:
    with tempfile.TemporaryDirectory() as place:
        return [(checkpoint.save(Path(place), 1, {"a": np.zeros(3)}, {}) / "manifest.json").read_bytes()]


def _write_manifest(path: Path, manifest: bytes) -> None:
    (checkpoint.save(path, 1, {"a": np.zeros(3)}, {}) / "manifest.json").write_bytes(manifest)


@cache
def _weights() -> list[bytes]:
    saved = _trained()
    params = {name: value for name, value in saved.arrays.items() if name.startswith(".ema[0]")}
    return [_saved(weights.write, params, 1, saved.settings, suffix=".safetensors")]


def _headers() -> list[bytes]:
    """The headers of weights of format 1."""
    content = _weights()[0]
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["gaussdiff"])
    header["__metadata__"]["gaussdiff"] = json.dumps({**facts, "format": 1, "sha256": None})
    return [json.dumps(header).encode()]


def _write_weights(path: Path, header: bytes) -> None:
    content = _weights()[0]
    (length,) = struct.unpack("<Q", content[:8])
    path.write_bytes(struct.pack("<Q", len(header)) + header + content[8 + length :])


def _arrays() -> list[bytes]:
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (6, 4, 4, 3), np.uint8), draw.normal(size=(6, 3)).astype(np.float32)
    return [_saved(np.save, each, suffix=".npy") for each in pixels]


def _sets() -> list[bytes]:
    draw = np.random.default_rng(0)
    made = []
    for write in (np.savez, np.savez_compressed):
        with io.BytesIO() as file:
            write(file, images=draw.integers(0, 256, (6, 4, 4), np.uint8), labels=np.arange(6) % 3)
            made.append(file.getvalue())
    return made


def _pictures() -> list[bytes]:
    made = []
    for mode, form in (("RGB", "png"), ("P", "png"), ("RGB", "jpeg"), ("L", "tiff"), ("RGB", "webp"), ("RGB", "bmp")):
        with io.BytesIO() as file:
            Image.effect_noise((16, 16), 50).convert(mode).save(file, form)
            made.append(file.getvalue())
    with io.BytesIO() as file:
        Image.effect_noise((16, 16), 50).save(file, "tiff", compression="tiff_lzw")
        made.append(file.getvalue())
    return [*made, b"P6 2 2 255 " + bytes(12), b"P2 2 2 255 1 2 3 4\n"]


def _journals() -> list[bytes]:
    rows = {twin: [0.5] * 5 for twin in page.TWINS}
    explained = {"sigma": [0.1, 0.3, 1.0, 3.0, 10.0], "denoiser": rows, "score": rows}
    explained["error"] = {"network": [1.0] * 5, **rows}
    record = {"step": 1, "loss": 0.5, "images_per_second": 9.0, "time": 0.0}
    records = [record, {**record, "step": 2, "held_out_loss": 0.4, "explained": explained}]
    return ["".join(json.dumps(each) + "\n" for each in records).encode()]


def _read_journal(path: Path) -> None:
    journal.rewind(path, 5)
    page.page(path.parent, TINY, (2,), page.Status("running", 2, 1))


def _metrics() -> list[bytes]:
    criterion = {"name": "n", "measured": [0.5, 0.4, 0.6], "expected": "e", "holds": True, "note": "", "controls": []}
    one = STANDARD[0]
    entry = {"title": one.title, "claim": one.claim, "criterion": one.criterion, "verdict": "agrees", "notes": ["n"]}
    numbers: Any = [1.0, 0.0, 2.0]
    for key in reversed(one.headline.keys):
        numbers = {key: numbers}
    entry |= {
        "sentence": "s",
        "criteria": [{**criterion, "takes": "t"}],
        "numbers": numbers,
    }
    metrics = {
        "step": 1,
        "settings": {"steps": 9, "seed": 0, "full": False},
        "quality": {"samples": 9},
        "training": TINY.to_json(),
        "versions": {"gaussdiff": "1"},
        "experiments": {one.name: entry},
        "seconds": {one.name: 1.0},
    }
    return [json.dumps(metrics).encode()]


def _read_metrics(path: Path) -> None:
    if not (path.parent / "checkpoints").exists():
        saved = _trained()
        checkpoint.save(path.parent, saved.step, saved.arrays, saved.settings)
    judged = {"run": verdicts.read(path.parent)}
    verdicts.table(judged)


def _data(path: Path) -> None:
    dataset.load(str(path))


READERS = {
    "law": Reader(_laws, "case.npz", gd.load),
    "law's head": Reader(_heads, "case.npz", gd.load, _write_law),
    "recipe": Reader(_recipes, "case.json", gd.load_recipe),
    "recipe's content": Reader(lambda: _unsigned(_recipes()), "case.json", gd.load_recipe),
    "npz": Reader(_members, "case.npz", archives.read_npz, _write_archive),
    "settings": Reader(_settings, "case", training.load, _write_run),
    "manifest": Reader(_manifests, "case", checkpoint.latest, _write_manifest),
    "weights": Reader(_weights, "case.safetensors", training.load),
    "weights' header": Reader(_headers, "case.safetensors", training.load, _write_weights),
    "data npy": Reader(_arrays, "case.npy", _data),
    "data npz": Reader(_sets, "case.npz", _data),
    "data law": Reader(_laws, "case.npz", _data),
    "picture": Reader(_pictures, "case.png", lambda path: folder.read(path.parent, None)),
    "spectrum": Reader(_members, "case.npy", table.read_spectrum),
    "journal": Reader(_journals, "train.jsonl", _read_journal),
    "metrics": Reader(_metrics, "metrics.json", _read_metrics),
}


def fault(reader: Reader, path: Path, content: bytes) -> str | None:
    """What is wrong with how the reader takes this content; None where nothing is."""
    reader.write(path, content)
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with warnings.catch_warnings(action="ignore"):
            reader.read(path)
    except (ValueError, OSError, MemoryError) as error:
        if path.name not in str(error) and not OURS.match(str(error)):
            return f"no file named: {error!r}"
    except Exception as error:
        return repr(error)
    seconds = time.perf_counter() - began
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    if seconds > SECONDS:
        return f"{seconds:.0f} s"
    return f"{megabytes:.0f} MB" if megabytes > MEGABYTES else None


def run(reader: Reader, seed: int, seconds: float, most: int | None = None) -> tuple[int, dict[str, bytes]]:
    """The number of cases in these seconds (at most `most`), and a content for each kind of fault."""
    draw, faults, count = random.Random(seed), {}, 0
    whole, ends = reader.whole(), time.perf_counter() + seconds
    while time.perf_counter() < ends and (most is None or count < most):
        content = mutated(draw.choice(whole), draw, whole)
        with tempfile.TemporaryDirectory() as place:
            what = fault(reader, Path(place) / reader.name, content)
        if what is not None:
            faults.setdefault(re.sub(r"[\d./]+", "#", what)[:80], content)
            print(f"{reader.name}: {what[:300]}", flush=True)
        count += 1
    return count, faults


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default=",".join(READERS), help="names of readers, with commas")
    parser.add_argument("--out", type=Path, help="folder for the files that showed a fault")
    options = parser.parse_args()
    total = 0
    for name in options.only.split(","):
        count, faults = run(READERS[name], options.seed, 60 * options.minutes)
        print(f"{name}: {count:,} cases, {len(faults)} kinds of faults", flush=True)
        total += len(faults)
        for i, content in enumerate(faults.values() if options.out else ()):
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{name}-{i}").write_bytes(content)
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
