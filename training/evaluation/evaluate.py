"""Everything that `python -m training evaluate` measures of a run, as plain numbers, and as a page to read."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

import gaussdiff as gd
from training import sampling
from training.config import Config, check
from training.data.arrays import listing
from training.data.dataset import Dataset, spread
from training.evaluation import errors, features, likelihoods
from training.evaluation import samples as quality
from training.networks.denoiser import LearnedDenoiser

MOST_MODES = 4096  # of the Gaussian beside the network; beyond, the rest of the variance is spread evenly
MOST_FITTED = 10_000  # training samples that it is fitted to
MODELS = ("network", "gaussian")  # whose likelihoods are measured
MEANINGS = {
    "flow": "through the probability flow",
    "chain": "evidence lower bound of DDPM's chain",
    "Frechet distance": "means and covariances, squared",
    "kernel distance": "the first three moments, squared (the kernel of KID)",
    "MMD": "all moments, Gaussian kernel at the median distance, squared",
    "sliced Wasserstein": "transport along lines; error: of the lines alone",
    "precision": "fraction of samples that look real (3 neighbours)",
    "recall": "fraction of held-out data that samples reach",
    "copy ratio": "distance to training / held-out data, median; 0 = copies",
    "copies": "fraction of samples with a ratio below 1/3",
}


@dataclass(frozen=True)
class Questions:
    """What is measured, and on how much."""

    samples: int = 500  # samples drawn and compared with held-out data; 0: none
    steps: int = 18  # steps of Heun's method to draw them, of two network calls each
    likelihoods: int = 64  # held-out samples whose likelihood is bounded; 0: none
    probes: int = (
        8  # random directions a sample of the flow's trace; exact where a sample has no more numbers than this
    )
    chain: int = 200  # steps of DDPM's chain
    features: str | None = None  # FILE.py:FUNCTION, samples (N, ...) to features (N, F), to compare in these as well
    seed: int = 0  # of all noise

    def check(self) -> None:
        """ValueError names the field with which nothing can be measured."""
        for name, least in (("samples", 4), ("likelihoods", 2)):
            if 0 != getattr(self, name) < least:
                raise ValueError(
                    f"{name}: expected 0, for none, or at least {least}, got {getattr(self, name)}; set --{name}"
                )
        check("seed", self.seed)
        for name, least in (("steps", 1), ("probes", 2), ("chain", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected at least {least}, got {getattr(self, name)}; raise --{name}")


def assess(
    model: LearnedDenoiser,
    data: Dataset,
    config: Config,
    questions: Questions,
    save: Callable[[dict[str, Any]], None] = lambda results: None,
) -> dict[str, Any]:
    """Tables for JSON: "levels" always, "likelihood" and "quality" where asked for, "recognised" with labels.

    A table that cannot be measured, or not whole, is named in "failed", with the reason, and the others are there all
    the same. `save` is called with the results so far: before the first table, with none, and after each.
    """
    questions.check()
    config.check_unconditional()
    extra = [features.tried(questions.features, data)] if questions.features else []
    recognisable = bool(questions.samples) and features.can_learn(data)
    classifier = cache(lambda: features.learn_classifier(data, questions.seed))
    gaussian = cache(lambda: beside(data))
    tables: dict[str, Callable[[], Any]] = {
        "levels": lambda: errors.table(model, gaussian(), data.train_rows, data.held_out_rows, config)
    }
    if questions.likelihoods:
        tables["likelihood"] = lambda: likelihood(model, gaussian(), data, config, questions)
    if questions.samples:
        learned = (lambda: [classifier().features]) if recognisable else list
        tables["quality"] = lambda: compare(model, data, config, learned(), extra, questions)
    if config.labels and recognisable:
        tables["recognised"] = lambda: recognised(model, data, config, classifier(), questions)
    results: dict[str, Any] = {}
    save(results)
    for name, measure in tables.items():
        try:
            results[name] = measure()
            if name == "likelihood" and (reasons := unsolved(results[name])):
                results.setdefault("failed", {})[name] = "; ".join(reasons)
        except (RuntimeError, ValueError, MemoryError) as error:  # memory, features of one's own
            results.setdefault("failed", {})[name] = str(error).strip() or repr(error)
        save(results)
    return results


def beside(data: Dataset) -> gd.Gaussian:
    """The Gaussian of the training data, of the leading directions where there are many, or of some samples."""
    train = data.train_rows[spread(len(data.train_rows), MOST_FITTED)]
    return gd.Gaussian.from_samples(train, rank=min(MOST_MODES, train[0].size))


def likelihood(
    model: LearnedDenoiser, gaussian: gd.Gaussian, data: Dataset, config: Config, questions: Questions
) -> dict[str, Any]:
    """Bound the likelihood of some held-out samples, of the network and of the Gaussian, from the run's sigma_max."""
    x = data.held_out_rows[spread(len(data.held_out_rows), questions.likelihoods)]
    convention = likelihoods.Convention.of(data.train_rows[spread(len(data.train_rows), MOST_FITTED)], config.sigma_max)
    exact = x[0].size <= questions.probes
    options: Any = {"probes": None if exact else questions.probes, "steps": questions.chain, "seed": questions.seed}
    models: dict[str, gd.Denoiser] = {"network": model, "gaussian": gaussian}
    measured = {name: likelihoods.measure(each, x, convention, **options) for name, each in models.items()}
    rows = {name: {row.name: asdict(row) for row in rows} for name, rows in measured.items()}
    return {**asdict(convention), "numbers": x[0].size, **options, **rows}


def unsolved(results: dict[str, Any]) -> list[str]:
    """Why some of the likelihoods are missing, each model by its name."""
    return [f"{model}: {row['failed']}" for model in MODELS for row in results[model].values() if "failed" in row]


def compare(
    model: LearnedDenoiser,
    data: Dataset,
    config: Config,
    learned: list[features.Features],
    extra: list[features.Features],
    questions: Questions,
) -> dict[str, Any]:
    """Draw samples, and compare them with the held-out data in all features."""
    samples = sampling.samples(model, questions.samples, gd.Heun(), _levels_of(config, questions), questions.seed)
    spaces = [*learned, features.learn_components(data), *extra]
    scores = [score for space in spaces for score in quality.distances(samples, data, space, questions.seed)]
    scores += quality.copies(samples, data, questions.seed)
    return {
        "samples": len(samples),
        "held_out": len(data.held_out),
        "floor_samples": min(len(samples), len(features.unseen(data))),
        "steps": questions.steps,
        "scores": [asdict(score) for score in scores],
    }


def recognised(
    model: LearnedDenoiser, data: Dataset, config: Config, classifier: features.Classifier, questions: Questions
) -> dict[str, Any]:
    """Draw as many samples with each label, and say how many of them the classifier takes for what they should be.

    Of the labels that the training and the held-out samples have: no other is learned, or has a floor.
    """
    assert data.train_labels is not None
    assert data.held_out_labels is not None
    known, levels = np.intersect1d(data.train_labels, data.held_out_labels), _levels_of(config, questions)
    if not len(known):
        raise ValueError("labels: expected some that both training and held-out samples have, got none; add samples")
    each = -(-questions.samples // len(known))
    drawn = [
        sampling.samples(model.given(label), each, gd.Heun(), levels, questions.seed, label * each)
        for label in known.tolist()
    ]
    labels = np.repeat(known, each)
    results = quality.recognised(np.concatenate(drawn), labels, data, classifier)
    left_out = sorted(set(range(model.classes or 0)) - set(known.tolist()))
    return {"steps": questions.steps, "each": each, "left_out": left_out, **asdict(results)}


def _levels_of(config: Config, questions: Questions) -> gd.NoiseLevel:
    return gd.grids.karras(questions.steps, config.sigma_min, config.sigma_max)


def page(results: dict[str, Any]) -> str:
    """The numbers as tables of text, each with how many samples it is from and its floor."""
    tables = {"levels": _levels, "likelihood": _likelihood, "quality": _quality, "recognised": _recognised}
    sections = [write(results[name]) for name, write in tables.items() if name in results]
    return "\n\n".join(sections)


def _levels(results: dict[str, Any]) -> str:
    train, held_out = results["samples"]["train"], results["samples"]["held_out"]
    names = ("train", "held_out", "gaussian")
    lines = [
        f"mean squared error of the denoiser on {train} training and {held_out} held-out samples",
        "Gaussian: that of the training data, on the held-out ones",
        "loss 1 = no better than a multiple of x (of data of mean 0)",
        f"{'sigma':>10} {'train':>19} {'held out':>19} {'Gaussian':>19} {'loss':>10}",
    ]
    for row in results["rows"]:
        cells = " ".join(f"{_within(*row[name]):>19}" for name in names)
        lines.append(f"{row['sigma']:10.4g} {cells} {row['loss']:10.4g}")
    return "\n".join(lines)


def _likelihood(results: dict[str, Any]) -> str:
    bins, trace = results["bins"], results["probes"] or results["numbers"]
    what = f"the probability of {bins} even values from -1 to 1" if bins else "the density, in bins of width 1"
    count, numbers = results["network"]["chain"]["n"], results["numbers"]
    lines = [
        f"bits per dimension of {count} held-out samples of {numbers} numbers: {what}",
        f"upper bounds, from sigma {results['sigma_max']:.3g} down to {results['sigma_min']:.3g}; the Gaussian has the "
        "moments of the training data",
        f"{'':20} {'network':>23} {'Gaussian':>23}",
    ]
    counts = {"flow": f"{trace} probes" if results["probes"] else "exact trace", "chain": f"{results['steps']} steps"}
    for name in ("flow", "chain"):
        values = " ".join(f"{_bits(results[model][name]):>23}" for model in MODELS)
        lines.append(f"{name + ', ' + counts[name]:20} {values}  {MEANINGS[name]}")
    return "\n".join(lines)


def _bits(row: dict[str, Any]) -> str:
    return "not solved" if "failed" in row else _within(row["bits_per_dim"], row["bits_error"])


def _quality(results: dict[str, Any]) -> str:
    head = (
        f"{results['samples']} samples of {results['steps']} Heun steps against {results['held_out']} held-out ones\n"
        f"floor: {results['floor_samples']} training samples in the place of the samples, mean and spread of 10 draws; "
        "for copies, unseen data"
    )
    lines, space = [head], None
    for row in results["scores"]:
        if row["features"] != space:
            space = row["features"]
            lines.append(f"in {space}\n{'':20} {'samples':>23} {'floor':>23}")
        value, floor = _within(row["value"], row["error"]), _within(row["floor"], row["floor_spread"])
        lines.append(f"{row['name']:20} {value:>23} {floor:>23}  {MEANINGS[row['name']]}")
    return "\n".join(lines)


def _recognised(results: dict[str, Any]) -> str:
    low = min(results["by_class"], key=results["by_class"].get)
    rows = (
        (
            f"{results['n']} samples",
            "share",
            "error",
            f"of each label, least of label {low}: {results['by_class'][low]:.0%}",
        ),
        (f"{results['held_out']} held-out ones", "accuracy", "accuracy_error", "what perfect samples would have"),
    )
    lines = [
        f"recognised by a small classifier as the label asked for: {results['each']} samples of each label, "
        f"{results['steps']} Heun steps",
        *(f"{name:20} {_percent(results[share], results[error]):>23}  {why}" for name, share, error, why in rows),
    ]
    if left_out := results.get("left_out"):
        lines.append(f"without {len(left_out)} labels that training or held-out samples lack: {listing(left_out)}")
    return "\n".join(lines)


def _percent(fraction: float, error: float) -> str:
    return f"{fraction:.1%} ± {error:.1%}"


def _within(value: float, error: float | None) -> str:
    return f"{value:.4g}" if error is None or np.isnan(error) else f"{value:.4g} ± {error:.2g}"
