"""The numbers of a study: as tables for the terminal and the page, and as one JSON record."""

import dataclasses
from typing import Any

import numpy as np

from analysis.harness.style import NAMES
from analysis.harness.table import Table
from analysis.reporting.study import Study


def tables(study: Study) -> list[Table]:
    """The tables of a report: those that experiments make of their records, and those of what all of them share."""
    own = [
        result.experiment.table(result.record)
        for result in study.results
        if result.experiment.table is not None and result.finding is not None
    ]
    return [*own, _distance(study), _commitment(study), _quality(study)]


def _distance(study: Study, shown: int = 8) -> Table:
    chosen = _levels_shown(study.levels, shown)
    rows = [
        [f"{NAMES[name]}, {label}", *(f"{curve[i]:.3f}" for i in chosen), f"{end:.3f}"]
        for part, label in (("state", "noisy state"), ("denoised", "denoised image"))
        for name, curve in study.distances[part].items()
        for end in [study.distances["state"][name][-1]]
    ]
    return Table(
        "Distance of the paths from the network's",
        f"Root mean square per entry over {study.starts} starts, in data units. Last column: samples.",
        ["σ =", *(f"{study.levels[i]:.2g}" for i in chosen), "end"],
        rows,
    )


def _levels_shown(levels: np.ndarray, shown: int) -> list[int]:
    wanted = np.geomspace(levels[0], levels[-2], shown)
    return [int(np.abs(np.log(levels[:-1] / w)).argmin()) for w in wanted]


def _commitment(study: Study) -> Table:
    count = len(study.variances)
    chosen = [k for k in (0, 1, 2, 4, 8, 16, 32) if k < count]
    predicted = np.sqrt(3 * study.variances)
    lines = {"closed form √(3 variance)": predicted, **{NAMES[k]: v for k, v in study.committed.items()}}
    rows = [["variance", *(f"{study.variances[k]:.3g}" for k in chosen)]]
    rows += [
        [name, *("–" if np.isnan(curve[k]) else f"{curve[k]:.2f}" for k in chosen)] for name, curve in lines.items()
    ]
    return Table(
        "What is decided when",
        "Noise scale σ at which a principal component has half of its final value in the denoised image. "
        "–: never settles within the grid.",
        ["component", *(str(k + 1) for k in chosen)],
        rows,
    )


def _quality(study: Study) -> Table:
    scores = study.quality
    rows = [[NAMES[n], f"{row['frechet']:.2f}", f"{row['nearest_training_ratio']:.2f}"] for n, row in scores.items()]
    rows[-1][1] += f" ± {scores['real']['frechet_std']:.2f}"
    return Table(
        "Samples",
        f"Fréchet distance to {len(study.data.held_out)} held-out samples, from {study.starts} samples; "
        f"features: {study.setting.features.name}. The row “{NAMES['real']}” is for comparison: as many training "
        "samples in the place of generated ones, mean and spread (±, standard deviation) over ten draws; differences "
        "smaller than that spread mean nothing. Nearest-training ratio: 0 copies a training sample, 1 is as far from "
        "them as held-out samples are.",
        ["", "Fréchet distance", "nearest-training ratio"],
        rows,
    )


def metrics(study: Study) -> dict[str, Any]:
    """Everything that was measured, as JSON: finite numbers, and null where a component never committed."""
    return {
        "data": {
            "name": study.config.data,
            "training": len(study.data.train),
            "held_out": len(study.data.held_out),
            "shape": list(study.data.shape),
        },
        "settings": dataclasses.asdict(study.settings),
        "step": study.step,
        "training": study.config.to_json(),
        "path_distance": {"sigma": study.levels.tolist(), **_lists(study.distances)},
        "commitment": {
            "variance": study.variances.tolist(),
            "closed_form": np.sqrt(3 * study.variances).tolist(),
            **{name: [None if np.isnan(v) else v for v in curve.tolist()] for name, curve in study.committed.items()},
        },
        "quality": {"features": study.setting.features.name, "samples": study.starts, **study.quality},
        "experiments": {result.experiment.name: result.to_json() for result in study.results},
        "seconds": study.seconds,
        "versions": study.versions,
    }


def _lists(parts: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, list[float]]]:
    return {part: {name: curve.tolist() for name, curve in curves.items()} for part, curves in parts.items()}
