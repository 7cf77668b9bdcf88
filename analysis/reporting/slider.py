"""What the page's slider shows: paths of a few starts, each number stored as one byte, so that the page stays small."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template

import numpy as np

from analysis.harness.style import COLORS, NAMES, channel_note, pair
from analysis.measures.paths import Paths
from analysis.reporting.figures import visible_paths

BUDGET = 1_500_000  # bytes of pictures, before base64
STARTS = 8  # at the most, of images
POINTS = 200  # paths of vectors that are drawn
REACH = 2.0  # pixel values -REACH to REACH have a byte of their own


def slider(paths: Mapping[str, Paths]) -> str:
    """The part of the page in which a reader moves along the paths of every model."""
    event, shown = paths["network"].x.shape[2:], visible_paths(paths)
    packed = _pictures(shown) if len(event) == 3 else _plane(shown)
    note = channel_note(event)
    hint = HINTS[packed["kind"]] + (f" Shown and compared here: {note}." if note else "")
    text = Template(Path(__file__).with_name("slider.html").read_text(encoding="utf-8"))
    return text.substitute(data=json.dumps(packed), hint=hint, last=len(packed["sigma"]) - 1)


HINTS = {
    "images": "Each column is a model. The last row of images is the model's denoised image minus the network's: red "
    "where it is darker, blue where it is lighter; below it is its root mean square per pixel. States are divided by "
    "√(1 + σ²), to be visible at every noise scale.",
    "plane": "Each panel is a model. Grey: the noisy states, divided by √(1 + σ²). In colour: the denoised values. "
    "Both are drawn by their first two coordinates.",
}


def _pictures(paths: Mapping[str, Paths]) -> dict:
    first = paths["network"]
    one = 2 * len(paths) * len(first.sigma) * first.x[0, 0].size
    starts = int(np.clip(BUDGET // one, 1, min(STARTS, len(first.x))))
    chosen = _levels(len(first.sigma), BUDGET // (starts * one // len(first.sigma)))
    return {
        "kind": "images",
        "shape": list(first.x.shape[2:]),
        "starts": starts,
        "reach": REACH,
        **_named(paths, first.sigma[chosen]),
        "frames": {name: _frames(path, starts, chosen, _bytes) for name, path in paths.items()},
    }


def _plane(paths: Mapping[str, Paths]) -> dict:
    first = paths["network"]
    count, chosen = min(POINTS, len(first.x)), np.arange(len(first.sigma))
    reach = 1.3 * max(float(np.abs(pair(path.denoised)).max()) for path in paths.values())

    def packed(values: np.ndarray) -> str:
        return _bytes(pair(values), reach)

    frames = {name: _frames(path, count, chosen, packed) for name, path in paths.items()}
    return {"kind": "plane", "starts": count, "reach": reach, **_named(paths, first.sigma), "frames": frames}


def _levels(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, max(2, min(count, most))).astype(int))


def _named(paths: Mapping[str, Paths], sigma: np.ndarray) -> dict:
    names = {name: NAMES[name] for name in paths}
    return {"sigma": [float(f"{s:.4g}") for s in sigma], "names": names, "colors": {n: COLORS[n] for n in names}}


def _frames(path: Paths, starts: int, chosen: np.ndarray, packed) -> dict[str, str]:
    """Level by level, then start by start: the states, and what is predicted there; at the end that is the sample."""
    scale = np.sqrt(1 + path.sigma**2).reshape(1, -1, *[1] * (path.x.ndim - 2))
    predicted = np.concatenate([path.denoised, path.x[:, -1:]], 1)
    parts = {"state": path.x / scale, "denoised": predicted}
    return {part: packed(values[:starts, chosen].swapaxes(0, 1)) for part, values in parts.items()}


def _bytes(values: np.ndarray, reach: float = REACH) -> str:
    whole = np.round((np.clip(values / reach, -1, 1) + 1) * 127.5).astype(np.uint8)
    return base64.b64encode(whole.tobytes()).decode()
