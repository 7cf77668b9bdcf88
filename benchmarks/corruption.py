"""A thousand damaged files: each is read as what it was, or is refused by name, and never as something else.

    python -m benchmarks.corruption --count 1000 --seed 0

Checkpoints, laws, recipes and exported weights are damaged in eight ways at random places: cut, one bit flipped, some
bytes replaced, a block of zeros, bytes added, emptied, exchanged with another file of the same run or program, or
replaced by a file of another format. Of a damaged checkpoint the one before has to be taken, with a warning that names
the damaged one. Prints how often each outcome occurs; the exit code is 1 where a state was wrong or an error did not
name the file.
"""

import argparse
import io
import json
import random
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

import gaussdiff as gd
from training.storage import checkpoint, weights

RIGHT, BEFORE, REFUSED = "right state", "the one before, named", "refused, named"
WRONG, UNNAMED = "WRONG STATE", "ERROR WITHOUT NAME"
OUTCOMES = (RIGHT, BEFORE, REFUSED, WRONG, UNNAMED)

Damage = Callable[[bytes, random.Random], bytes]


class Subject(NamedTuple):
    """What is read, and how.

    files: those that may be damaged. read: what is read, as comparable bytes. states: what each of its right states is
    called. named: what a message about damage has to name.
    """

    files: tuple[Path, ...]
    read: Callable[[], bytes]
    states: Mapping[bytes, str]
    named: str


def cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def flip(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def replace(content: bytes, draw: random.Random) -> bytes:
    harmed = bytearray(content)
    for _ in range(draw.randint(2, 16)):
        harmed[draw.randrange(len(harmed))] = draw.randrange(256)
    return bytes(harmed)


def zeros(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    end = min(len(content), start + draw.choice((16, 64, 512)))
    return content[:start] + bytes(end - start) + content[end:]


def more(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.randbytes(draw.randint(1, 64)) + content[place:]


def empty(content: bytes, draw: random.Random) -> bytes:
    return b""


DAMAGES: dict[str, Damage] = {
    each.__name__: each for each in (cut, flip, replace, zeros, more, empty)
}  # and "exchange", "foreign"


def foreign() -> list[bytes]:
    """Files of other formats, whole in themselves."""
    picture, other, text = io.BytesIO(), io.BytesIO(), json.dumps({"gaussdiff": 1, "tree": [], "format": 3})
    Image.new("L", (4, 4)).save(picture, "png")
    np.savez(other, mean=np.zeros(3))
    return [picture.getvalue(), other.getvalue(), text.encode(), b"<html>404</html>\n", random.Random(0).randbytes(999)]


def bytes_of(tree: Any) -> bytes:
    """The structure of a pytree and the dtypes, shapes and bits of its arrays."""
    leaves = [
        (np.asarray(leaf).dtype.str, np.shape(leaf), np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)
    ]
    return repr((jax.tree.structure(tree), leaves)).encode()


def bytes_of_checkpoint(saved: checkpoint.Checkpoint | None) -> bytes:
    assert saved is not None
    return bytes_of(saved.arrays) + repr((saved.step, sorted(saved.settings.items()))).encode()


def subjects(folder: Path) -> dict[str, list[Subject]]:
    """Laws of every class, recipes, checkpoints of two steps, and weights, written to `folder`."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(12, 2, 2)).astype(np.float32)
    laws = (
        gd.Gaussian.from_samples(x, 2),
        gd.Diagonal.from_samples(x),
        gd.GaussianMixture.from_samples(x, 2, key=jax.random.key(0)),
        gd.Empirical(x, 0.1),
    )
    kinds: dict[str, list[Subject]] = {"law": [], "recipe": [], "weights": [], "checkpoint": []}
    for law in laws:
        path = folder / f"{type(law).__name__}.npz"
        gd.save(path, law)
        kinds["law"].append(_alone(path, lambda path=path: bytes_of(gd.load(path))))
    for sampler in (gd.Heun(), gd.DEIS(2, gd.Cosine()), gd.SwitchAt(gd.GaussianExact(laws[0]), gd.UniPC(2), 1.0)):
        path = folder / f"{type(sampler).__name__}.json"
        gd.save_recipe(path, sampler, gd.grids.karras(6))
        kinds["recipe"].append(_alone(path, lambda path=path: bytes_of(gd.load_recipe(path))))
    for step in (1, 2):
        state = {"params": {"kernel": draw.normal(size=(4, 3)).astype(np.float32)}, "step": np.asarray(step)}
        path = folder / f"{step}.safetensors"
        weights.write(path, state, step, {"config": {"seed": step}})
        kinds["weights"].append(_alone(path, lambda path=path: bytes_of_checkpoint(weights.read(path))))
        newest = checkpoint.save(folder / "run", step, state, {"config": {"seed": step}})
    older = newest.with_name("step-00000001")
    states = {
        bytes_of_checkpoint(checkpoint.read(newest)): RIGHT,
        bytes_of_checkpoint(checkpoint.read(older)): BEFORE,
    }
    files = tuple(newest / name for name in ("state.npz", "config.json", "manifest.json"))
    kinds["checkpoint"].append(
        Subject(files, lambda: bytes_of_checkpoint(checkpoint.latest(folder / "run")), states, newest.name)
    )
    return kinds


def _alone(path: Path, read: Callable[[], bytes]) -> Subject:
    return Subject((path,), read, {read(): RIGHT}, path.name)


def outcome(subject: Subject) -> str:
    """What reading the subject leads to."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            state = subject.states.get(subject.read(), WRONG)
        except (ValueError, OSError) as error:
            return REFUSED if subject.named in str(error) else UNNAMED
        except Exception as error:
            print(f"{subject.named}: {error!r}", file=sys.stderr)
            return UNNAMED
    if state == BEFORE and not any(subject.named in str(each.message) for each in said):
        return UNNAMED
    return state


def run(count: int, seed: int) -> Counter[tuple[str, str, str]]:
    """How often each (kind of file, damage, outcome) occurs among `count` damages."""
    draw, counts = random.Random(seed), Counter()
    with tempfile.TemporaryDirectory() as place:
        kinds = subjects(Path(place))
        others = [*foreign(), *(file.read_bytes() for file in Path(place).glob("run/checkpoints/*1/*"))]
        whole = {file: file.read_bytes() for each in kinds.values() for one in each for file in one.files}
        for i in range(count):
            kind = list(kinds)[i % len(kinds)]
            subject = draw.choice(kinds[kind])
            file = draw.choice(subject.files)
            how = draw.choice([*DAMAGES, "exchange", "foreign"])
            if how == "exchange":
                content = draw.choice([each for other, each in whole.items() if _unlike(other, file)])
            else:
                content = draw.choice(others) if how == "foreign" else DAMAGES[how](whole[file], draw)
            file.write_bytes(content)
            counts[kind, how, outcome(subject)] += 1
            file.write_bytes(whole[file])
    return counts


def _unlike(other: Path, file: Path) -> bool:
    """Whether reading one for the other is an error: one law in the place of another is a law."""
    return other != file and (other.suffix != file.suffix or {other.parent, file.parent} != {file.parent})


def table(counts: Counter[tuple[str, str, str]]) -> str:
    """A row for each kind of file, a column for each outcome."""
    kinds = dict.fromkeys(kind for kind, _, _ in counts)
    lines = ["| file | " + " | ".join(OUTCOMES) + " |", "|---" * (1 + len(OUTCOMES)) + "|"]
    for kind in kinds:
        row = [sum(n for (k, _, o), n in counts.items() if (k, o) == (kind, each)) for each in OUTCOMES]
        lines.append(f"| {kind} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)


def faults(counts: Counter[tuple[str, str, str]]) -> int:
    """How many damages led to a wrong state, or to an error that does not name the file."""
    return sum(count for (_, _, how), count in counts.items() if how in (WRONG, UNNAMED))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corruption", description=__doc__)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    counts = run(options.count, options.seed)
    print(table(counts))
    for row, count in sorted(counts.items()):
        if row[2] in (WRONG, UNNAMED):
            print(f"{count} x {' / '.join(row)}")
    return 1 if faults(counts) else 0


if __name__ == "__main__":
    sys.exit(main())
