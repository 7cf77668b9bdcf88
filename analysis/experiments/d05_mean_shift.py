"""D5: the data set's denoiser is a mean-shift step, and a step toward it raises the likelihood.

D*(x) = sum_i w_i y_i with w = softmax(-|x - y_i|^2 / 2 h^2) is mean shift with a Gaussian kernel of width h = sigma:
D* - x = h^2 grad log p_h(x), p_h = sum_i N(x; y_i, h^2 I) / N. By Jensen's inequality, for any point z,

    log p_h(z) - log p_h(x) >= (|D*_h - x|^2 - |D*_h - z|^2) / 2 h^2

so p_h rises from x to z wherever z is no farther from D*_h(x) than x is: to D* itself always where h = sigma, to the
network's D where it is near enough. For other widths than the noise's it is counted whether the likelihood rises.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, NAMES, NOISE_AXIS
from analysis.measures.bootstrap import interval
from analysis.measures.stepwise import posteriors

LEVELS = 6  # states of a path that are asked, evenly spread over it
DRAWN = ("network", "gaussian", "data_set")
MARGIN = 0.01  # by how much less often than with the data set's own denoiser the likelihood may rise


@dataclass(frozen=True)
class Record:
    """For B paths at m noise scales, and h = m widths of the kernel, which are the same numbers: sigma (m,).

    identity: largest |D* - (x + sigma^2 grad log p)| over sigma, the gradient by differentiating log p. gain, bound:
    {model: (B, m, h)} of log p_h from x to D(x), in nats, and what Jensen's inequality promises; rounding: of gains.
    controls: the models among them that know nothing of the data's order.
    """

    sigma: np.ndarray
    identity: float
    gain: dict[str, np.ndarray]
    bound: dict[str, np.ndarray]
    rounding: dict[str, np.ndarray]
    controls: tuple[str, ...] = ()


def measure(setting: Setting) -> Record:
    """Gains of log-likelihood from the states of every model's path to its denoised images, under every width."""
    places = np.linspace(0, len(setting.sigma) - 2, LEVELS).round().astype(int)
    levels, data_set = setting.levels[places], setting.models["data_set"]
    assert isinstance(data_set, gd.Empirical)
    few = setting.count(16, 128)
    gains, paths = {}, {**{name: setting.paths[name] for name in DRAWN}, **setting.control_paths}
    for name, path in paths.items():
        gains[name] = _gains(data_set, path.x[:few, places], path.denoised[:few, places], levels)
    own = jnp.asarray(setting.paths["data_set"].x[:4, places])
    return Record(
        sigma=setting.sigma[places],
        identity=float(_identity(data_set, own, levels)),
        gain={name: parts[0] for name, parts in gains.items()},
        bound={name: parts[1] for name, parts in gains.items()},
        rounding={name: parts[2] for name, parts in gains.items()},
        controls=tuple(setting.controls),
    )


def _gains(
    data_set: gd.Empirical,
    x: Float[np.ndarray, "B m *event"],
    to: Float[np.ndarray, "B m *event"],
    widths: gd.NoiseLevel,
) -> list[np.ndarray]:
    """Gain of log p_h, Jensen's bound and rounding, each (B, m, h)."""
    states, ends = (part.reshape(-1, *part.shape[2:]) for part in (x, to))
    by_width = []
    for width in widths:
        here, there = (posteriors(data_set, part, width) for part in (states, ends))
        near, far = ((here.x0 - part).reshape(len(part), -1).astype(np.float64) for part in (ends, states))
        near, far = (near**2).sum(1), (far**2).sum(1)
        before, after, variance = here.log_prob.astype(float), there.log_prob.astype(float), float(width.sigma) ** 2
        scale = np.abs(before) + np.abs(after) + (near + far) / variance
        rounding = 100 * np.finfo(x.dtype).eps * scale
        by_width.append((after - before, (far - near) / (2 * variance), rounding))
    return [np.stack(parts, -1).reshape(*x.shape[:2], -1) for parts in zip(*by_width, strict=True)]


@eqx.filter_jit
def _identity(data_set: gd.Empirical, x: Float[Array, "B m *event"], levels: gd.NoiseLevel) -> Float[Array, ""]:
    """The largest difference of D* from x + sigma^2 grad log p, in units of sigma."""

    def one(x: Array, level: gd.NoiseLevel) -> Array:
        step = level.sigma**2 * jax.grad(data_set.log_prob)(x, level)
        return jnp.max(jnp.abs(data_set.denoise(x, level) - x - step)) / level.sigma

    return jnp.max(jax.vmap(jax.vmap(one), in_axes=(0, None))(x, levels))


def find(record: Record) -> Finding:
    """Agrees where the theorem is never broken and the network's steps raise likelihoods as often as the data set's."""
    promised = {name: bound > record.rounding[name] for name, bound in record.bound.items()}
    broken = {name: int((record.gain[name] < -record.rounding[name])[yes].sum()) for name, yes in promised.items()}
    rises = {name: interval(_fraction, *counts(record, name)) for name in record.gain}
    condition = {name: float(yes.mean()) for name, yes in promised.items()}
    often = {name: one.value >= rises["data_set"].value - MARGIN for name, one in rises.items()}
    mean_shift = _own_width(record.gain["data_set"] >= -record.rounding["data_set"])
    others = ", ".join(f"{NAMES[name]} {one.value:.3f}" for name, one in rises.items() if name != "network")
    return Finding(
        sentence=f"The denoised sample is likelier than its state in {rises['network'].value:.1%} of the states and "
        "kernel widths.",
        criteria=(
            Criterion(
                "largest error of the data set's denoiser as a mean-shift step ÷ σ",
                record.identity,
                "below 0.01, and every rise that theory promises",
                record.identity < 1e-2 and not any(broken.values()) and mean_shift == 1,
                note="Where theory promises that the likelihood rises, it fell "
                f"{sum(broken.values()):,} times of {sum(int(yes.sum()) for yes in promised.values()):,}. The data "
                f"set's own step raises it at its own width in {mean_shift:.1%} of the states.",
            ),
            Criterion(
                "fraction of states and widths at which the network's step raises the likelihood",
                rises["network"],
                f"at least {rises['data_set'].value - MARGIN:.3g}, the data set's less {MARGIN:g}",
                often["network"],
                note=f"Other models: {others}.",
                controls=meet(often, record.controls),
            ),
        ),
        numbers={
            "identity_error": record.identity,
            "mean_shift_rises": mean_shift,
            "rises": {name: list(one) for name, one in rises.items()},
            "condition_holds": condition,
            "condition_broken": broken,
            "noise_scale": record.sigma.tolist(),
        },
        notes=(
            "Theory promises a rise where the step ends no farther from the data set's denoised sample than it began: "
            f"for the network in {condition['network']:.1%} of the states and widths.",
        ),
    )


def counts(record: Record, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Where the likelihood rises, and where it is certain to rise or fall: (B, m, h) each."""
    gain, rounding = record.gain[name], record.rounding[name]
    return gain > rounding, np.abs(gain) > rounding


def _fraction(rises: np.ndarray, certain: np.ndarray) -> float:
    return float(rises.sum() / certain.sum())


def _own_width(flags: np.ndarray) -> float:
    """The fraction of states (B, m, h) with h = m."""
    return float(np.mean([flags[:, i, i] for i in range(flags.shape[1])]))


def draw(record: Record) -> Figure:
    """For each model, the fraction of states that rise, by noise scale and width."""
    figure = Figure(figsize=(4 * len(DRAWN) + 0.6, 4.3), layout="constrained")
    axes = figure.subplots(1, len(DRAWN), squeeze=False)[0]
    labels = [f"{s:.2g}" for s in record.sigma]
    picture = None
    for axis, name in zip(axes, DRAWN, strict=True):
        rises, certain = (part.sum(0).T for part in counts(record, name))
        fraction = np.divide(rises, certain, out=np.full(rises.shape, np.nan), where=certain > 0)
        picture = axis.imshow(fraction, origin="lower", cmap="cividis", vmin=0, vmax=1)
        axis.plot(range(len(labels)), range(len(labels)), ":", color="white")
        axis.set(xticks=range(len(labels)), yticks=range(len(labels)), xlabel=NOISE_AXIS)
        axis.set_xticklabels(labels, fontsize=8)
        axis.set_yticklabels(labels, fontsize=8)
        axis.set_title(f"{NAMES[name]}: {_fraction(*counts(record, name)):.1%} rise", color=COLORS[name], fontsize=10)
    axes[0].set_ylabel("width of the kernel (data units)")
    if picture is not None:
        figure.colorbar(picture, ax=axes, shrink=0.7, label="fraction of states that become likelier")
    fraction = _fraction(*counts(record, "network"))
    figure.suptitle(f"Denoising makes {fraction:.1%} of states likelier, on average over widths of the kernel")
    return figure


MEAN_SHIFT = Experiment(
    name="D5",
    title="Denoising is a mean-shift step: it climbs the likelihood",
    claim="The data set's denoiser is a step of mean shift, and going from a state to its denoised image raises the "
    "kernel density of the data for every width, the network's too where it is near enough.",
    published="No number was published; Chen et al., arXiv 2305.19947.",
    criterion=f"Agrees where the identity holds to a hundredth of the noise, no certain rise is broken, and the "
    f"network's denoised image is likelier than its state as often as the data set's own, less {MARGIN:.0%} of states "
    "and widths; in part where one of these, exactness or the count, holds.",
    caption="The fraction of states whose denoised sample has a higher kernel density of the training data than the "
    "state: columns by the noise of the state, rows by the width of the kernel. On the dotted line the two are equal, "
    "and the data set's own step is mean shift; white: changes below rounding, which do not count.",
    headline=Headline("fraction of states that become likelier", ("rises", "network")),
    measure=measure,
    find=find,
    draw=draw,
)
