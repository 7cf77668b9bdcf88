"""How the cost of each law grows with its sizes: a table and a plot of times over log-spaced sizes.

`python -m benchmarks.growth` prints the table; --write puts it in benchmarks/RESULTS.md, and the plot beside it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import gaussdiff as gd
from benchmarks.timing import take_turns

RESULTS, PLOT = (Path(__file__).parent / name for name in ("RESULTS.md", "growth.png"))
HEADING = "## How the cost grows"
INTRO = """One size changes at a time. Each time is the fastest of five turns, and the exponent is the slope of log time
over log size at the three largest sizes. The work is in matrix products, of which every size here is a factor, so the
exponent is to be 1; fixed costs, and what does not depend on the size, such as writing the answer when only the rank
grows, make it smaller, and sizes that leave the processor's cache make it larger.
"""


class Growth(NamedTuple):
    """Seconds of one function over one of its sizes, and the power of the size by which they are to grow."""

    law: str
    size: str
    others: str
    sizes: np.ndarray
    seconds: np.ndarray
    predicted: float = 1.0

    @property
    def exponent(self) -> float:
        """The slope of log seconds over log size at the three largest sizes, where fixed costs hardly count."""
        return float(np.polyfit(np.log(self.sizes[-3:]), np.log(self.seconds[-3:]), 1)[0])


def data_set(points: int = 10_000, width: int = 768, batch: int = 64) -> Callable[[], object]:
    """Empirical.denoise of a batch."""
    model = gd.Empirical(_normal(points, width))
    return _denoise(model, _normal(batch, width))


def path(width: int = 3072, rank: int = 128, times: int = 20, batch: int = 16) -> Callable[[], object]:
    """The states of gaussian_path of a batch."""
    law = _gaussian(jnp.zeros(width), _modes(width, rank))
    call = jax.jit(lambda law, x, levels: jax.vmap(gd.exact.gaussian_path, in_axes=(None, 0, None))(law, x, levels).x)
    levels, x = gd.VarianceExploding()(jnp.geomspace(80.0, 0.01, times)), _normal(batch, width)
    return lambda: call(law, x, levels)


def mixture(components: int = 32, rank: int = 32, width: int = 1024, batch: int = 64) -> Callable[[], object]:
    """GaussianMixture.denoise of a batch."""
    modes = jnp.broadcast_to(_modes(width, rank), (components, width, rank))
    laws = jax.vmap(_gaussian)(_normal(components, width), modes)
    return _denoise(gd.GaussianMixture(jnp.zeros(components), laws), _normal(batch, width))


# the function, one of its sizes, what to call it, and what the other sizes are
CURVES = (
    ("data set", data_set, "points", "points N", "D = 768, batch 64", (2500, 5000, 10_000, 20_000, 40_000)),
    ("data set", data_set, "width", "dimensions D", "N = 10,000, batch 64", (192, 384, 768, 1536, 3072)),
    ("data set", data_set, "batch", "batch", "N = 10,000, D = 768", (16, 32, 64, 128, 256)),
    ("Gaussian path", path, "width", "dimensions D", "r = 128, T = 20, batch 16", (768, 1536, 3072, 6144, 12_288)),
    ("Gaussian path", path, "rank", "rank r", "D = 3072, T = 20, batch 16", (64, 128, 256, 512, 1024)),
    ("Gaussian path", path, "times", "times T", "D = 3072, r = 128, batch 16", (5, 10, 20, 40, 80)),
    ("mixture", mixture, "components", "components K", "r = 32, D = 1024, batch 64", (8, 16, 32, 64, 128)),
    ("mixture", mixture, "rank", "rank r", "K = 32, D = 1024, batch 64", (8, 16, 32, 64, 128)),
)


def run() -> list[Growth]:
    return [_measured(*curve) for curve in CURVES]


def _measured(law: str, make: Callable, argument: str, size: str, others: str, sizes: tuple[int, ...]) -> Growth:
    times = take_turns({str(value): make(**{argument: value}) for value in sizes}, turns=5)
    return Growth(law, size, others, np.array(sizes), np.array([seconds.min() for seconds in times.values()]))


def section(curves: list[Growth]) -> str:
    """Markdown: the heading, a table of times at both ends and exponents, and the plot."""
    lines = [
        "| law | size that grows | from | to | ms | ms | exponent | predicted |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for c in curves:
        low, high = c.seconds[[0, -1]] * 1e3
        cells = [c.law, f"{c.size} ({c.others})", f"{c.sizes[0]:,}", f"{c.sizes[-1]:,}", f"{low:.3g}", f"{high:.3g}"]
        lines.append(f"| {' | '.join(cells)} | {c.exponent:.2f} | {c.predicted:g} |")
    table = "\n".join(lines)
    return f"{HEADING}\n\n{INTRO}\n{table}\n\n![Time over size, one panel for each row of the table]({PLOT.name})\n"


def write(curves: list[Growth]) -> None:
    """The section at the end of RESULTS.md, in place of one that is there, and the plot."""
    before = RESULTS.read_text().split(HEADING)[0].rstrip()
    RESULTS.write_text(f"{before}\n\n{section(curves)}")
    plot(curves, PLOT)


def plot(curves: list[Growth], file: Path) -> None:
    """One row of panels for each law, one panel for each size; the dashed line has the predicted slope."""
    laws = list(dict.fromkeys(curve.law for curve in curves))
    figure, grid = plt.subplots(len(laws), 3, figsize=(10, 2.9 * len(laws)), layout="constrained")
    for row, law in zip(grid, laws, strict=True):
        own = [curve for curve in curves if curve.law == law]
        limits = [factor * value for factor, value in zip((0.5, 2), _ends(own), strict=True)]
        for axes, curve in zip(row, own, strict=False):
            _panel(axes, curve, limits)
        for axes in row[len(own) :]:
            axes.axis("off")
        row[0].set_ylabel("milliseconds")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    grid[-1, -1].legend(handles, labels, loc="center", frameon=False, fontsize=11)
    figure.suptitle("Time grows in proportion to each size, once fixed costs are paid")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _ends(curves: list[Growth]) -> tuple[float, float]:
    milliseconds = np.concatenate([curve.seconds for curve in curves]) * 1e3
    return milliseconds.min(), milliseconds.max()


def _panel(axes: Axes, curve: Growth, limits: list[float]) -> None:
    milliseconds = curve.seconds * 1e3
    line = milliseconds[-1] * (curve.sizes / curve.sizes[-1]) ** curve.predicted
    axes.loglog(curve.sizes, line, "--", color="0.6", label="in proportion to the size")
    axes.loglog(curve.sizes, milliseconds, "o-", color="C0", label="measured")
    axes.set_xticks(curve.sizes, [f"{size:,}" for size in curve.sizes], fontsize=8)
    axes.set_xticks([], minor=True)
    marks = [
        mark for power in range(-2, 5) for mark in np.array([1, 3]) * 10.0**power if limits[0] <= mark <= limits[1]
    ]
    axes.set_ylim(*limits)
    axes.set_yticks(marks, [f"{mark:g}" for mark in marks])
    axes.set_yticks([], minor=True)
    axes.set_xlabel(curve.size)
    axes.set_title(f"{curve.law}\n{curve.others}", fontsize=9)
    axes.text(
        0.05, 0.88, f"time ~ size$^{{\\,{curve.exponent:.2f}}}$", transform=axes.transAxes, fontsize=11, color="C0"
    )
    axes.grid(alpha=0.3)


def _denoise(model: gd.Distribution, x: jax.Array) -> Callable[[], object]:
    call, level = jax.jit(jax.vmap(lambda m, x, level: m.denoise(x, level), (None, 0, None))), gd.NoiseLevel(1.0, 20.0)
    return lambda: call(model, x, level)


def _gaussian(mean: jax.Array, modes: jax.Array) -> gd.Gaussian:
    return gd.Gaussian(mean, jnp.geomspace(50, 0.05, modes.shape[1]), modes, 0.01)


def _modes(width: int, rank: int) -> jax.Array:
    return jnp.linalg.qr(_normal(width, rank))[0]


def _normal(rows: int, columns: int) -> jax.Array:
    return jax.random.normal(jax.random.key(rows), (rows, columns))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the section and the plot in benchmarks/")
    options = parser.parse_args()
    curves = run()
    print(section(curves))
    if options.write:
        write(curves)


if __name__ == "__main__":
    main()
