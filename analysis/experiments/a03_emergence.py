"""A3: outline first, details later: when each principal component of a sample is decided.

A component's progress at a level is the regression, over paths, of its coefficient in the denoised image on that in the
final sample. On a Gaussian it is the commitment f = sqrt(lam / (lam + sigma^2)), one half at sqrt(3 lam): so the log
of that level rises by 1/2 per unit of log variance.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline, NotMeasuredError
from analysis.harness.finding import Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, NAMES, NOISE_AXIS, panels
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.paths import committing, half_levels, progress, rank_correlation

MOST, LEAST, SMALLEST = 40, 5, 1e-3  # components; the least variance, as a fraction of the largest
ORDER, SLOPE, RATIO = 0.9, 0.1, 1.25  # what the criterion asks for
DRAWS = 200  # of the bootstrap: each finds all levels anew


@dataclass(frozen=True)
class Record:
    """sigma (n+1,); variances, predicted (m,); {model: (B, n, m)} and {model: (B, m)}, parts of the regression.

    controls: the models that learned nothing of the data's order.
    """

    sigma: np.ndarray
    variances: np.ndarray
    predicted: np.ndarray
    products: dict[str, np.ndarray]
    squares: dict[str, np.ndarray]
    controls: tuple[str, ...]

    def progress(self, name: str) -> np.ndarray:
        """How much of each component is there: (n, m)."""
        return progress(self.products[name], self.squares[name])

    def levels(self, name: str) -> np.ndarray:
        """Where each component is half decided: (m,), NaN where it never is."""
        return half_levels(self.progress(name), self.sigma)


def measure(setting: Setting) -> Record:
    """Of the components that hold at least a thousandth of the largest variance, 40 at the most."""
    variances = np.asarray(setting.gaussian.eigvals, np.float64)
    modes = min(MOST, int((variances > SMALLEST * variances[0]).sum()))
    if modes < LEAST:
        reason = f"An order takes at least {LEAST} principal components of some variance; these data have {modes}."
        raise NotMeasuredError(f"{reason} Study data of more dimensions.")
    paths = {**setting.paths, **setting.control_paths}
    parts = {name: committing(path, setting.gaussian, modes) for name, path in paths.items()}
    predicted = np.asarray(gd.emergence(setting.gaussian.eigvals[:modes]), np.float64)
    products, squares = ({name: part[i] for name, part in parts.items()} for i in range(2))
    return Record(setting.sigma, variances[:modes], predicted, products, squares, tuple(setting.controls))


def slope(record: Record, levels: np.ndarray) -> float:
    """The least-squares slope of log level on log variance, over the components that settle; NaN for too few."""
    decided = np.isfinite(levels)
    if decided.sum() < LEAST:
        return float("nan")
    return float(np.polyfit(np.log(record.variances[decided]), np.log(levels[decided]), 1)[0])


def ratio(record: Record, levels: np.ndarray) -> float:
    """The median of measured over predicted levels, over the components that settle."""
    return float(np.nanmedian(levels / record.predicted))


def find(record: Record) -> Finding:
    """In order where the ranks agree as well as ORDER; as predicted where slope and height do too."""
    counts = {name: int(np.isfinite(record.levels(name)).sum()) for name in record.products}
    total, settled = len(record.variances), counts["network"]
    numbers: dict[str, Any] = {
        "components": total,
        "settled": counts,
        "variance": record.variances.tolist(),
        "predicted_level": record.predicted.tolist(),
        "measured_level_by_component": {name: _settled(record.levels(name)) for name in record.products},
    }
    if settled < LEAST:
        few = Criterion("components that are decided within the grid", settled, f"at least {LEAST}", False)
        return Finding(f"Of {total} principal components only {settled} are decided within the grid.", (few,), numbers)
    judged = [name for name, count in counts.items() if count >= LEAST]
    order, rise, height = (_over_paths(record, statistic) for statistic in (_order, slope, ratio))
    by_model = {name: record.levels(name) for name in judged}
    controls = [name for name in record.controls if name in judged]
    ordered = {name: _order(record, levels) >= ORDER for name, levels in by_model.items()}
    sloped = {name: abs(slope(record, levels) - 0.5) <= SLOPE for name, levels in by_model.items()}
    placed = {name: 1 / RATIO <= ratio(record, levels) <= RATIO for name, levels in by_model.items()}
    slopes = ", ".join(f"{slope(record, by_model[name]):.2f} ({NAMES[name]})" for name in judged[1:])
    numbers |= {
        "network_interval": {
            name: list(one)
            for name, one in (("rank_correlation", order), ("slope", rise), ("over_predicted", height))
            if one.is_known
        },
        "rank_correlation": {name: _order(record, levels) for name, levels in by_model.items()},
        "slope": {name: slope(record, levels) for name, levels in by_model.items()},
        "over_predicted": {name: ratio(record, levels) for name, levels in by_model.items()},
    }
    return Finding(
        sentence=f"Principal components are decided in the order of their variance: the rank correlation is "
        f"{order.value:.2f}."
        if ordered["network"]
        else f"Principal components are not decided in the order of their variance: the rank correlation is only "
        f"{order.value:.2f}.",
        criteria=(
            Criterion(
                "rank correlation of noise level and variance",
                order,
                f"at least {ORDER:g}",
                ordered["network"],
                essential=True,
                controls=meet(ordered, controls),
            ),
            Criterion(
                "slope of log level on log variance",
                rise,
                f"within {SLOPE:g} of 0.5, the closed form",
                sloped["network"],
                note=f"Of other models it is {slopes}.",
                controls=meet(sloped, controls),
            ),
            Criterion(
                "median of level ÷ √(3 variance)",
                height,
                f"between {1 / RATIO:g} and {RATIO:g}",
                placed["network"],
                controls=meet(placed, controls),
            ),
        ),
        numbers=numbers,
        notes=(f"{settled} of {total} components are decided within the grid.",),
    )


def _over_paths(record: Record, statistic: Callable[[Record, np.ndarray], float]) -> Interval:
    """The statistic of the network's levels, which every draw of paths finds anew."""

    def of(products: np.ndarray, squares: np.ndarray) -> float:
        return statistic(record, half_levels(progress(products, squares), record.sigma))

    return interval(of, record.products["network"], record.squares["network"], draws=DRAWS)


def _order(record: Record, levels: np.ndarray) -> float:
    return rank_correlation(record.variances, levels)


def _settled(levels: np.ndarray) -> dict[str, float]:
    return {str(k + 1): float(level) for k, level in enumerate(levels) if np.isfinite(level)}


def draw(record: Record) -> Figure:
    """Levels against variance beside the closed form, and the progress of a few components on the way."""
    figure, (levels, curves) = panels(2, width=5.2)
    order = np.linspace(record.variances.min(), record.variances.max(), 200)
    closed = np.asarray(gd.emergence(order))
    levels.plot(order, closed, "--", color=COLORS["gaussian"], label="closed form √(3 variance)")
    for name in ("shuffled_spectrum", "data_set", "mixture", "network"):
        if name in record.products:
            marker = {"network": "o", "shuffled_spectrum": "x"}.get(name, ".")
            levels.plot(record.variances, record.levels(name), marker, color=COLORS[name], label=NAMES[name], ms=6)
    levels.set(xscale="log", yscale="log", xlabel="variance of the principal component\ndetails ← → outline")
    levels.set(ylabel="σ where it is half decided", title="when each component is decided")
    sigma, progressed = record.sigma[:-1], record.progress("network")
    chosen = np.unique(np.geomspace(1, len(record.variances), 4).astype(int) - 1)
    for k, color in zip(chosen, ("#332288", "#cc6677", "#ddaa33", "#44aa99"), strict=False):
        curves.plot(sigma, progressed[:, k], "o", color=color, ms=4, label=f"component {k + 1}")
        curves.plot(sigma, np.sqrt(record.variances[k] / (record.variances[k] + sigma**2)), "--", color=color, lw=1)
    curves.axhline(0.5, color="#cccccc", lw=0.8, zorder=0)
    curves.set(
        title="the network's components on their way (dashed: closed form)", ylabel="fraction of the final value"
    )
    for axis in (levels, curves):
        axis.title.set_fontsize(10)
    levels.legend(frameon=False, fontsize=8)
    curves.legend(frameon=False, fontsize=8, loc="upper left")
    figure.suptitle(_title(record))
    curves.set(xscale="log", xlabel=NOISE_AXIS)
    curves.invert_xaxis()
    return figure


def _title(record: Record) -> str:
    rise = slope(record, record.levels("network"))
    if not np.isfinite(rise):
        return "Too few of the network's components settle within the grid to compare their levels"
    return f"The log level of decision rises by {rise:.2f} per unit of log variance (closed form 0.50)"


EMERGENCE = Experiment(
    name="A3",
    title="Outline first, details later",
    claim="The larger the variance of a principal component, the earlier it is decided on the way from noise to "
    "sample: half of it at the noise scale √(3 variance).",
    published="No number was published; Wang & Vastola, arXiv 2303.02490, section 3.",
    criterion="Agrees where the rank correlation of level and variance is at least .9, the slope of log level on log "
    "variance within .1 of 1/2, and the median level within a quarter of √(3 variance); in part where the order holds "
    "alone.",
    caption="Left: the noise level at which each principal component has half of its final value, against its "
    "variance (crosses: a Gaussian whose variances belong to other directions). Right: how single components of the "
    "denoised images approach their final value.",
    headline=Headline("slope of log level on log variance (closed form: 0.5)", ("network_interval", "slope")),
    measure=measure,
    find=find,
    draw=draw,
)
