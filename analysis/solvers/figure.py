"""The figure of a table of solvers: W2 against model calls, a panel for each grid."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

import gaussdiff as gd

COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#111111")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
REST = "#cccccc"
REFERENCES = {"DDIM": "--", "Heun": ":"}


def draw(table: gd.SolverTable, scale: float, name: str, columns: int = 3) -> Figure:
    """Samplers that win a budget in colour, the usual references dark, the others grey; each budget's best ringed."""
    rows = -(-len(table.grids) // columns)
    figure = Figure(figsize=(4.2 * min(columns, len(table.grids)), 3.2 * rows + 1.2), layout="constrained")
    axes = figure.subplots(rows, min(columns, len(table.grids)), squeeze=False, sharex=True, sharey=True)
    shown = _highlighted(table)
    for j, axis in enumerate(axes.flat[: len(table.grids)]):
        _panel(axis, table, j, shown, scale)
    for axis in axes.flat[len(table.grids) :]:
        axis.set_visible(False)
    for axis in axes[:, 0]:
        axis.set_ylabel("W2 to the data (data units)")
    for axis in axes[-1]:
        axis.set_xlabel("calls of the model")
    figure.suptitle(f"{name}: {_title(table)}", fontsize=12)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=6, frameon=False)
    return figure


def _highlighted(table: gd.SolverTable) -> list[int]:
    """The winners of the budgets, as many as there are colours."""
    winners = [table.samplers.index(table.best(calls)[0]) for k, calls in enumerate(table.calls) if _any(table, k)]
    return list(dict.fromkeys(winners))[: len(COLORS)]


def _any(table: gd.SolverTable, k: int) -> bool:
    return bool(np.isfinite(table.w2[:, :, k]).any())


def _panel(axis: Axes, table: gd.SolverTable, j: int, shown: list[int], scale: float) -> None:
    positive = np.where(table.w2 > 0, table.w2, np.nan)
    rest = [i for i in range(len(table.samplers)) if i not in shown]
    known = [i for i in rest if table.samplers[i] in REFERENCES]
    for number, i in enumerate(i for i in rest if i not in known):
        axis.plot(table.calls, positive[i, j], color=REST, lw=1, label="other samplers" if number == 0 else None)
    for i in known:
        style = REFERENCES[table.samplers[i]]
        axis.plot(table.calls, positive[i, j], color="#444444", ls=style, lw=1.3, label=table.samplers[i])
    for color, marker, i in zip(COLORS, MARKERS, shown, strict=False):
        axis.plot(table.calls, positive[i, j], color=color, marker=marker, ms=4, label=table.samplers[i])
    for k, calls in enumerate(table.calls):
        if _any(table, k) and table.best(calls)[1] == table.grids[j]:
            i = table.samplers.index(table.best(calls)[0])
            axis.plot(calls, positive[i, j, k], "o", ms=13, mfc="none", mec="black", mew=1.5)
    axis.set(xscale="log", title=table.grids[j])
    axis.set_xticks(table.calls, [str(calls) for calls in table.calls])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.spines[["top", "right"]].set_visible(False)
    if np.isfinite(positive).any():
        low = np.nanmin(positive)
        axis.set(yscale="log", ylim=(low / 1.6, max(2 * low, 1.3 * scale)))
        axis.yaxis.set_major_formatter("{x:g}")


def _title(table: gd.SolverTable) -> str:
    fitting = [calls for k, calls in enumerate(table.calls) if _any(table, k)]
    if not fitting:
        return "no sampler fits"
    middle = fitting[len(fitting) // 2]
    sampler, grid = table.best(middle)
    return f"at {middle} calls {sampler} on “{grid}” is closest (ringed: the best of each budget)"
