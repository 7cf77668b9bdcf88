"""C1: how linear denoisers learn the modes of the data: closed form (gd.OneLayer, ...) against gradient descent.

Descended are whole matrices at every noise scale by itself (analysis/measures/linear_descent.py), on the data's own
variances. Weights are compared with the gradient flow's, and what they generate, by integrating d log x / d log sigma =
1 - w over the learned scales, with gd.exact.generated_variance. The time to learn a mode is where its generated
variance is half of the way, in log, from its first value to its last.
"""

from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline, NotMeasuredError
from analysis.harness.finding import Criterion, Finding
from analysis.harness.setting import Setting
from analysis.harness.style import panels
from analysis.measures.bootstrap import Interval
from analysis.measures.crossing import exponent_over_modes, half_way
from analysis.measures.linear_descent import START, descend, generated

MODES, SCALES, MARKS = 10, 24, 40
SPAN = 300.0  # largest variance over the least that is descended on
NAMES = {"one_layer": "one layer", "two_layers": "two layers", "preconditioned": "preconditioned"}
COLORS = {"one_layer": "#0072b2", "two_layers": "#e69f00", "preconditioned": "#009e73"}
WEIGHTS = 0.03  # the largest difference of a weight from the flow's
EXPONENTS = 0.15  # how far an exponent may be from what is expected


@dataclass(frozen=True)
class Record:
    """variances (K,); sigma (s,), falling; steps (c,); and by kind: weights and flow (c, s, K), the generated variances
    of both (c, K) and learning rates. deviation: sigma_data of the preconditioning.
    """

    variances: np.ndarray
    sigma: np.ndarray
    steps: np.ndarray
    deviation: float
    rates: dict[str, float]
    weights: dict[str, np.ndarray]
    flow: dict[str, np.ndarray]
    generated: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]


def measure(setting: Setting) -> Record:
    """Descend on some of the data's variances, evenly spread in log."""
    everything = np.asarray(setting.gaussian.variances, np.float64)
    variances, deviation = spread_modes(everything), float(np.sqrt(everything.mean()))
    sigma = np.geomspace(np.sqrt(variances[0]), 0.1 * np.sqrt(variances[-1]), SCALES)
    largest = variances[0] + sigma[0] ** 2
    rates = {
        "one_layer": 0.1 / largest,
        "two_layers": 0.04 / largest,
        "preconditioned": 0.1 / max(variances[0] / deviation**2, 1.0),
    }
    last = 1.5 / (rates["one_layer"] * variances[-1])
    steps = np.unique(np.geomspace(1, last, MARKS - 1).round().astype(int))
    counts = np.diff(steps, prepend=0)
    basis, _ = np.linalg.qr(np.random.default_rng(setting.seed).normal(size=(len(variances),) * 2))
    arguments = jax.tree.map(jnp.asarray, (basis, variances, sigma, deviation, rates, counts))
    weights, steps = _host(descend(*arguments)), np.concatenate([[0], steps])
    flow, expected = _closed(learnings(rates, deviation), *(jnp.asarray(x, float) for x in (variances, sigma, steps)))
    return Record(
        variances=variances,
        sigma=sigma,
        steps=steps,
        deviation=deviation,
        rates=rates,
        weights=weights,
        flow=_host(flow),
        generated={name: generated(w, sigma) for name, w in weights.items()},
        expected=_host(expected),
    )


def spread_modes(variances: np.ndarray) -> np.ndarray:
    """At most MODES of the variances (D,), falling, evenly spread in log; NotMeasuredError where they are alike."""
    leading = variances[variances > variances[0] / SPAN]
    wanted = np.geomspace(leading[0], leading[-1], MODES)
    picked = np.unique([int(np.abs(np.log(leading / value)).argmin()) for value in wanted])
    if len(picked) < 3 or leading[0] < 4 * leading[-1]:
        raise NotMeasuredError(
            f"data: expected components of unlike variance, at least 3 of them, got {len(leading)} from "
            f"{leading[-1]:.3g} to {leading[0]:.3g}. Run this on images."
        )
    return leading[picked]


def learnings(rates: dict[str, float], deviation: float) -> dict[str, gd.Learning]:
    """The closed forms, by kind."""
    return {
        "one_layer": gd.OneLayer(rates["one_layer"]),
        "two_layers": gd.TwoLayers(rates["two_layers"], START),
        "preconditioned": gd.PreconditionedLayer(rates["preconditioned"], deviation),
    }


@eqx.filter_jit
def _closed(laws: dict[str, gd.Learning], variances, sigma, steps) -> tuple[dict[str, Array], dict[str, Array]]:
    """Of each law, the weights (c, s, K) of the gradient flow and the generated variances (c, K)."""

    def flow(law: gd.Learning) -> Array:
        def at(step, scale):
            return law.weight(variances, gd.NoiseLevel(1.0, scale), step)

        return jax.vmap(jax.vmap(at, (None, 0)), (0, None))(steps, sigma)

    def expected(law: gd.Learning) -> Array:
        return jax.vmap(lambda step: gd.exact.generated_variance(law, variances, sigma[0], sigma[-1], step))(steps)

    return {name: flow(law) for name, law in laws.items()}, {name: expected(law) for name, law in laws.items()}


def _host(arrays: dict[str, Array]) -> dict[str, np.ndarray]:
    return {name: np.asarray(array, np.float64) for name, array in arrays.items()}


def find(record: Record) -> Finding:
    """Agrees where descent follows the closed form, plain layers learn as lam^-1 and the preconditioned as lam^-1/2."""
    difference = {name: float(np.abs(w - record.flow[name]).max()) for name, w in record.weights.items()}
    measured = {name: _exponent(record, name, curve) for name, curve in record.generated.items()}
    closed = {name: _exponent(record, name, curve) for name, curve in record.expected.items()}
    plain, preconditioned = measured["one_layer"].value, measured["preconditioned"].value
    numbers: dict[str, Any] = {
        "variances": record.variances.tolist(),
        "sigma_data": record.deviation,
        "learning_rates": record.rates,
        "largest_weight_difference": difference,
        "exponent": {name: list(one) for name, one in measured.items() if one.is_known},
        "closed_form_exponent": {name: one.value for name, one in closed.items() if np.isfinite(one.value)},
        "steps": record.steps.tolist(),
        "generated_variance": {name: curve.tolist() for name, curve in record.generated.items()},
        "closed_form_variance": {name: curve.tolist() for name, curve in record.expected.items()},
    }
    return Finding(
        sentence=f"A plain linear denoiser learns a mode after a number of steps that goes as its variance to the "
        f"power {plain:.2f}.",
        criteria=(
            Criterion(
                "largest difference of a weight from the closed form",
                max(difference.values()),
                f"at most {WEIGHTS:g}",
                max(difference.values()) <= WEIGHTS,
            ),
            Criterion(
                "exponents of the learning time, one layer and preconditioned",
                f"{_in_words(measured['one_layer'])}; {_in_words(measured['preconditioned'])}",
                f"within {EXPONENTS:g} of -1 and of -1/2",
                abs(plain + 1) <= EXPONENTS and abs(preconditioned + 0.5) <= EXPONENTS,
                note="Closed form: "
                + "; ".join(f"{_in_words(closed[name])} for {kind}" for name, kind in NAMES.items())
                + f". Two layers: {_in_words(measured['two_layers'])}.",
            ),
        ),
        numbers=numbers,
        notes=(
            "No network takes part: of the data only the variances are used. Ranges in brackets are of the fit over "
            "modes.",
        ),
    )


def _in_words(exponent: Interval) -> str:
    """A fitted exponent; its range is no sampling error, but how well one power fits the modes."""
    if not np.isfinite(exponent.value):
        return "too few modes"
    fit = f"{exponent.low:.3f} to {exponent.high:.3f}" if exponent.is_known else "of too few modes for a range"
    return f"{exponent.value:.3f} ({fit})"


def _exponent(record: Record, name: str, curves: np.ndarray) -> Interval:
    """Of the modes that the plain layers learn from nothing, and of those that preconditioning starts too large.

    NaN where fewer than two modes are such.
    """
    small = record.variances < (np.inf if name != "preconditioned" else record.deviation**2 / 2)
    if small.sum() < 2:
        return Interval(np.nan, np.nan, np.nan)
    return exponent_over_modes(record.variances[small], half_way(record.steps, curves)[small])


def draw(record: Record) -> Figure:
    """Generated variances over the steps by kind, and the times to learn."""
    figure, axes = panels(4, width=3.7)
    first, last = record.sigma[[0, -1]] ** 2
    limit = first * (record.variances + last) / (record.variances + first)
    for axis, (name, title) in zip(axes, NAMES.items(), strict=False):
        for k in range(0, len(record.variances), 3):
            shade = (0.1, 0.1, 0.1, 1 - 0.25 * k / 3)
            axis.plot(record.steps[1:], record.generated[name][1:, k], "o", ms=3.5, mfc="none", color=shade)
            axis.plot(record.steps[1:], record.expected[name][1:, k], color=COLORS[name])
            axis.axhline(float(limit[k]), color="0.8", lw=0.6, zorder=0)
        axis.set(xscale="log", yscale="log", xlabel="step of descent", title=title)
    axes[0].set_ylabel("generated variance")
    for name, title in NAMES.items():
        axes[3].plot(
            record.variances,
            half_way(record.steps, record.generated[name]),
            "o-",
            ms=4,
            color=COLORS[name],
            label=title,
        )
    axes[3].set(xscale="log", yscale="log", xlabel="variance of the mode", ylabel="steps to learn half", title="time")
    plain, better = (_exponent(record, name, record.generated[name]).value for name in ("one_layer", "preconditioned"))
    power = f", preconditioned ^{better:.2f}" if np.isfinite(better) else ""
    figure.suptitle(f"Small modes are learned late: time as variance^{plain:.2f}{power}")
    figure.legend(loc="outside lower center", ncols=5, frameon=False)
    return figure


LINEAR_LEARNING = Experiment(
    name="C1",
    title="Linear denoisers learn large features first",
    claim="The modes of a linear denoiser are learned in the order of their variance: the time goes as its inverse, "
    "and with the usual preconditioning about as the inverse of its root. This takes the data's variances, not the "
    "network.",
    published="Exponent of an MLP on Gaussians -1.05 to -1.13; of a U-Net of MLPs on FFHQ32 -.48 for modes that rise, "
    "-.35 for modes that fall (Wang & Pehlevan, arXiv 2503.03206). The -1/2 is our prediction.",
    criterion="Agrees where no weight differs from the closed form by more than .03, and the exponents are within "
    ".15 of -1 (one layer) and of -1/2 (preconditioned, modes of less than half the data's variance per entry); in "
    "part where one of them.",
    caption="The variance that linear denoisers generate while they learn by gradient descent: some modes (points) on "
    "their closed form (lines); grey: what the true flow makes of the same start. Right: the step at which a mode is "
    "half of the way, in log.",
    headline=Headline("exponent of learning time, one layer", ("exponent", "one_layer")),
    measure=measure,
    find=find,
    draw=draw,
)
