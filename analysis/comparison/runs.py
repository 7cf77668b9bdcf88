"""Several runs, or checkpoints of one, side by side: on the same data, from the same noise, against the same twins."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
import training
from analysis.comparison import verdicts
from analysis.comparison.page import page
from analysis.harness import twins
from analysis.harness.style import COLORS, noise_axes, panels
from analysis.harness.table import Table
from analysis.measures import paths as compare
from analysis.measures import quality
from analysis.measures.probes import SIGMAS
from analysis.reporting import figures
from analysis.reporting.drawing import drawn
from analysis.reporting.study import Settings, noise_and_grid
from analysis.reporting.write import show
from training import runs
from training.data.dataset import spread
from training.evaluation import explain
from training.evaluation.features import learn_features
from training.runs import open_run
from training.storage import disk

PALETTE = ("#111111", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
EXPLAINED = 1024  # held-out samples at the most that a network denoises at every noise scale
EXPLAINING = ("isotropic", "gaussian", "data_set")


@dataclass(frozen=True)
class Comparison:
    """What was measured of each run, by label.

    steps: trained. error: (m,) root mean square error of the denoised held-out samples at SIGMAS, and trained_error on
    as many training samples. explained: {label: {twin: (m,)}} of the denoised samples. distances: (R, R) root mean
    square distance per entry of the samples from the same noise. scores: of quality.judge. ratios: median ratio of the
    noise scales at which components commit to the closed form's. judged: what experiments found on each.
    """

    steps: dict[str, int]
    error: dict[str, np.ndarray]
    trained_error: dict[str, np.ndarray]
    explained: dict[str, compare.Curves]
    samples: dict[str, np.ndarray]
    distances: np.ndarray
    scores: quality.Scores
    ratios: dict[str, float]
    judged: dict[str, verdicts.Judgements]

    @property
    def failed(self) -> bool:
        """Whether some experiment met a fault of the program."""
        return any(one["verdict"] == "failed" for each in self.judged.values() for one in each.entries.values())


def run(places: list[Path], settings: Settings, experiments: tuple[str, ...] = ()) -> Comparison:
    """Measure every run; a line of progress for each. ValueError for fewer than two, or runs on unlike data.

    experiments: names of those to measure on every run, or "standard"; without any, the runs' own reports are read.
    """
    settings.check()
    verdicts.check(experiments)
    if len(places) < 2:
        raise ValueError(f"runs: expected two or more folders of runs or of their checkpoints, got {len(places)}.")
    named = labels(places)
    networks = {name: training.load(place) for name, place in named.items()}
    _check_common(named)
    data = runs.load_data(places[0])
    judged = {name: verdicts.read(place) for name, place in named.items()} if not experiments else {}
    fitted = twins.fit(data.train, settings.components, settings.seed)
    others = {"gaussian": fitted.gaussian, "data_set": fitted.data_set, "isotropic": explain.isotropic(data.train)}
    starts, levels = noise_and_grid(settings, data.shape)
    key = jax.random.key(settings.seed + 1)
    held_out = data.held_out_rows[spread(len(data.held_out_rows), EXPLAINED)]
    trained_on = data.train_rows[spread(len(data.train_rows), len(held_out))]
    measured, on_trained, paths = {}, {}, {}
    for name, network in networks.items():
        measured[name] = compare.explained_variance({"network": network, **others}, held_out, SIGMAS, key)
        on_trained[name] = compare.explained_variance({"network": network}, trained_on, SIGMAS, key)["error"]["network"]
        paths |= compare.follow({name: network}, gd.Heun(), starts, levels)
        print(f"measured {name}", flush=True)
    samples = {name: path.samples for name, path in paths.items()}
    judged |= {
        name: verdicts.measure(name, place, experiments, settings) for name, place in named.items() if experiments
    }
    modes = compare.leading_modes(fitted.gaussian)
    committed = compare.commitment_levels(paths, fitted.gaussian, modes)
    predicted = np.sqrt(3 * np.asarray(fitted.gaussian.eigvals, np.float64)[:modes])
    return Comparison(
        steps={name: open_run(place).step for name, place in named.items()},
        error={name: parts["error"]["network"] for name, parts in measured.items()},
        trained_error=on_trained,
        explained={name: {twin: parts["denoiser"][twin] for twin in EXPLAINING} for name, parts in measured.items()},
        samples=samples,
        distances=_distances(list(samples.values())),
        scores=quality.judge(samples, data, learn_features(data, settings.seed), settings.seed),
        ratios={name: float(np.nanmedian(curve / predicted)) for name, curve in committed.items()},
        judged=judged,
    )


def labels(places: list[Path]) -> dict[str, Path]:
    """A short name for each place: its last parts, as many as make them different."""
    for depth in range(1, max(len(place.resolve().parts) for place in places) + 1):
        short = ["/".join(place.resolve().parts[-depth:]) for place in places]
        if len(set(short)) == len(short):
            return dict(zip(short, places, strict=True))
    raise ValueError(f"runs: expected different folders, got {', '.join(map(str, places))}.")


def _check_common(named: dict[str, Path]) -> None:
    configs = {name: training.load_config(place) for name, place in named.items()}
    for name, config in configs.items():
        config.check_unconditional(name)
    (first, config), *rest = configs.items()
    for name, other in rest:
        kinds = [(c.data, c.image_size, c.held_out) for c in (config, other)]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"runs: expected runs on the same data, got {first} on {kinds[0]} and {name} on {kinds[1]} "
                "(data, image_size, held_out). Compare runs of one data set."
            )


def _distances(samples: list[np.ndarray]) -> np.ndarray:
    return np.array([[np.sqrt(np.mean((a - b) ** 2, dtype=np.float64)) for b in samples] for a in samples])


def table(comparison: Comparison) -> Table:
    """One row for each run."""
    near_one = int(np.abs(np.log(SIGMAS)).argmin())
    names = list(comparison.steps)
    rows = [
        [
            name,
            f"{comparison.steps[name]:,}",
            f"{comparison.error[name][near_one]:.3f}",
            f"{comparison.trained_error[name][near_one]:.3f}",
            f"{comparison.explained[name]['gaussian'][near_one]:.3f}",
            f"{comparison.explained[name]['data_set'][near_one]:.3f}",
            f"{comparison.ratios[name]:.2f}",
            f"{comparison.scores[name]['frechet']:.2f}",
            f"{comparison.scores[name]['nearest_training_ratio']:.2f}",
            f"{comparison.distances[0, i]:.3f}",
        ]
        for i, name in enumerate(names)
    ]
    real = comparison.scores["real"]
    return Table(
        "Runs side by side",
        f"Error, and explained variance of the denoised samples by the Gaussian and the data set, at σ = "
        f"{SIGMAS[near_one]:.2g}. Commitment: median ratio to the Gaussian's √(3 variance). Fréchet: real data "
        f"against real data have {real['frechet']:.2f} ± {real['frechet_std']:.2f}. Nearest: 0 copies a training "
        "sample. Last: distance of samples from the first run's, from the same noise (root mean square per entry).",
        ["run", "step", "error", "on training", "Gaussian", "data set", "commitment", "Fréchet", "nearest", "distance"],
        rows,
    )


def draw(comparison: Comparison) -> Figure:
    """Errors beside the first run's, what a Gaussian and the data set explain, and distances between samples."""
    figure, (error, gaussian, data_set, distances) = panels(4, width=3.9)
    names = list(comparison.steps)
    colors = dict(zip(names, (PALETTE[i % len(PALETTE)] for i in range(len(names))), strict=True))
    for name, color in colors.items():
        label = f"{names.index(name) + 1}. {name} (step {comparison.steps[name]:,})"
        error.plot(SIGMAS, comparison.error[name] / comparison.error[names[0]], "o-", ms=3, color=color, label=label)
        trained = comparison.trained_error[name] / comparison.error[names[0]]
        error.plot(SIGMAS, trained, ":", color=color)
        gaussian.plot(SIGMAS, np.maximum(comparison.explained[name]["gaussian"], 0), "o-", ms=3, color=color)
        data_set.plot(SIGMAS, np.maximum(comparison.explained[name]["data_set"], 0), "o-", ms=3, color=color)
    baseline = np.maximum(comparison.explained[names[0]]["isotropic"], 0)
    gaussian.plot(SIGMAS, baseline, "--", color=COLORS["isotropic"], label="isotropic baseline")
    error.set(title=f"error of the denoised sample\n÷ that of {names[0]} (dotted: on training samples)")
    gaussian.set(title="explained by the Gaussian", ylim=(0, 1.03))
    data_set.set(title="explained by the data set", ylim=(0, 1.03))
    _matrix(distances, comparison.distances)
    return noise_axes(figure, error, gaussian, data_set)


def _matrix(axis, distances: np.ndarray) -> None:
    axis.imshow(distances, cmap="Blues", vmin=0)
    for (i, j), value in np.ndenumerate(distances):
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", color="w" if value > distances.max() / 2 else "k")
    places = range(len(distances))
    axis.set(xticks=places, yticks=places, xticklabels=[i + 1 for i in places], yticklabels=[i + 1 for i in places])
    axis.set(xlabel="run", ylabel="run")
    axis.set_title("samples from the same noise:\ndistance (RMS per entry)", fontsize=10)


def record(comparison: Comparison) -> dict[str, Any]:
    """Everything that was measured, as JSON."""
    return {
        "sigma": SIGMAS.tolist(),
        "distances": comparison.distances.tolist(),
        "real": comparison.scores["real"],
        "runs": {
            name: {
                "step": step,
                "error": comparison.error[name].tolist(),
                "error_on_training": comparison.trained_error[name].tolist(),
                "explained": {twin: curve.tolist() for twin, curve in comparison.explained[name].items()},
                "commitment_ratio": ratio if np.isfinite(ratio := comparison.ratios[name]) else "never commits",
                **comparison.scores[name],
            }
            for name, step in comparison.steps.items()
        },
        "experiments": verdicts.record(comparison.judged),
    }


def write(comparison: Comparison, out: Path) -> None:
    """Print the tables; write compare.json, compare.html, compare.png and .pdf, and compare_samples.png to `out`."""
    numbers = json.dumps(record(comparison), indent=1, allow_nan=False) + "\n"
    drawing, rows = draw(comparison), figures.samples(comparison.samples)
    pictures = {"compare": drawn(drawing, "png"), "compare_samples": drawn(rows, "png")}
    pictured = next(iter(comparison.samples.values())).ndim == 4  # images (N, H, W, C)
    text = page(table(comparison), pictures["compare"], pictures["compare_samples"], comparison.judged, pictured)
    show([table(comparison), *([verdicts.table(comparison.judged)] if verdicts.shown(comparison.judged) else [])])
    disk.make(out)
    disk.write(out / "compare.json", numbers.encode())
    disk.write(out / "compare.pdf", drawn(drawing, "pdf"))
    for name, picture in pictures.items():
        disk.write(out / f"{name}.png", picture)
    disk.write(out / "compare.html", text.encode(errors="backslashreplace"))
    print(f"written: {out / 'compare.html'}, compare.json, compare.png, compare.pdf, compare_samples.png")
