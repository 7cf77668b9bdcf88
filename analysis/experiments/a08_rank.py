"""A8: how many principal components the Gaussian needs to explain the network as well as all of them do.

A Gaussian truncated to r components denoises to mu + sum_{k <= r} b_k u_k, with the same b_k as the whole one, so with
t_k the network's coefficients what it leaves is, for all r at once,

    sum_{k <= r} (t_k - b_k)^2 + sum_{k > r} t_k^2 + what lies outside the components.

Where the network is the Gaussian itself, component k holds w_k = lam_k^2 / (lam_k + sigma^2) of the variance of the
denoised sample, and r components leave out sum_{k > r} w_k: few are needed at large noise, more as it falls.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline
from analysis.harness.finding import Criterion, Finding
from analysis.harness.setting import Setting
from analysis.harness.style import noise_axes, panels
from analysis.measures.bootstrap import Interval, interval
from analysis.measures.paths import rank_correlation
from analysis.measures.probes import Probes, ask, squared_residuals, to_explain

CLOSE = 0.01  # explained variance within which r components do as well as all
JUDGED = 0.5  # the rank is read where the whole Gaussian explains as much of the denoised sample
FACTOR = 2  # by which it may differ from the closed form's, at each of these scales


@dataclass(frozen=True)
class Record:
    """sigma (m,); residuals (m, N, r+1) of 0 .. r components, of each sample; whole {part: (m, N)}; expected (m,).

    expected: the rank that is needed where the network is the Gaussian itself.
    """

    sigma: np.ndarray
    residuals: np.ndarray
    whole: dict[str, np.ndarray]
    expected: np.ndarray


def measure(setting: Setting) -> Record:
    """Coefficients of the network's and of the Gaussian's answers along the principal components."""
    probes, gaussian = setting.held_out, setting.gaussian
    variances = np.asarray(gaussian.eigvals, np.float64)
    denoised = variances / (variances + probes.sigma[:, None] ** 2) * variances
    residual = np.cumsum(denoised[:, ::-1], axis=1)[:, ::-1] / denoised.sum(1, keepdims=True)
    expected = (np.column_stack([residual, np.zeros(len(residual))]) <= CLOSE).argmax(1)
    whole = {part: to_explain(probes, part) for part in ("denoiser", "score")}
    return Record(probes.sigma, truncated(probes, gaussian), whole, expected)


def truncated(probes: Probes, gaussian: gd.Gaussian) -> np.ndarray:
    """|network - truncated|^2 of every sample (m, N, r+1), for the first 0, 1, .. r components."""
    answers = ask(gaussian, probes.noisy, probes.sigma)
    mean, basis = np.asarray(gaussian.mean, np.float64), np.asarray(gaussian.eigvecs, np.float64)
    target, guess = ((one - mean).reshape(*one.shape[:2], -1) @ basis for one in (probes.network, answers))
    saved = np.cumsum(target**2 - (target - guess) ** 2, axis=2)
    nothing = squared_residuals(probes, np.broadcast_to(mean, probes.network.shape))
    return nothing[..., None] - np.concatenate([np.zeros_like(saved[..., :1]), saved], axis=2)


def needed(residuals: np.ndarray, whole: np.ndarray) -> int:
    """The least number of components whose explained variance is within CLOSE of all's.

    residuals: (N, r+1). whole: (N,).
    """
    curve = 1 - residuals.sum(0) / whole.sum()
    return int((curve >= curve[-1] - CLOSE).argmax())


def find(record: Record) -> Finding:
    """Whether the rank rises as noise falls, and whether it is within FACTOR of the closed form at every scale."""
    whole = record.whole["denoiser"]
    explained = 1 - record.residuals[..., -1].sum(1) / whole.sum(1)
    judged = np.flatnonzero(explained >= JUDGED).tolist()
    ranks = {
        part: np.array([needed(*pair) for pair in zip(record.residuals, one, strict=True)])
        for part, one in record.whole.items()
    }
    rank = ranks["denoiser"]
    intervals = {i: interval(needed, record.residuals[i], whole[i], draws=200) for i in judged}
    enough = len(judged) >= 3
    order = _order(record, judged) if enough else Interval(0.0, 0.0, 0.0)
    ratios = np.maximum(rank, 1) / np.maximum(record.expected, 1)
    numbers = {
        "sigma": record.sigma.tolist(),
        "rank_needed": {part: one.tolist() for part, one in ranks.items()},
        "closed_form_rank": record.expected.tolist(),
        "intervals": {f"{record.sigma[i]:.3g}": list(one) for i, one in intervals.items()},
        "explained_by_all": explained.tolist(),
        "order_correlation": list(order),
        "ratio_to_closed_form": ratios.tolist(),
        "ratio_intervals": {f"{record.sigma[i]:.3g}": list(_ratio(record, i, one)) for i, one in intervals.items()},
        "scales_judged": record.sigma[judged].tolist(),
    }
    if not enough:
        few = Criterion(
            "noise levels at which the Gaussian explains half of the denoised sample", len(judged), "3 or more", False
        )
        return Finding(
            f"The Gaussian explains half of the denoised sample at only {len(judged)} noise levels.", (few,), numbers
        )
    worst = max(judged, key=lambda i: abs(np.log(ratios[i])))
    some = sorted({*judged[:: max(1, len(judged) // 3)], worst})
    listed = "; ".join(f"{intervals[i]} at σ = {record.sigma[i]:.2g} (closed form {record.expected[i]})" for i in some)
    return Finding(
        sentence="To explain the network as well as with all components the Gaussian needs "
        f"{rank[judged[0]]} of them at σ = {record.sigma[judged[0]]:.2g} and {rank[judged[-1]]} at σ = "
        f"{record.sigma[judged[-1]]:.2g}.",
        criteria=(
            Criterion(
                "rank correlation of components needed and falling noise", order, "at least 0.9", order.value >= 0.9
            ),
            Criterion(
                "components needed ÷ closed form's, where they differ most",
                _ratio(record, worst, intervals[worst]),
                f"between {1 / FACTOR:g} and {FACTOR:g}",
                bool((np.abs(np.log(ratios[judged])) <= np.log(FACTOR)).all()),
                note=f"They differ most at σ = {record.sigma[worst]:.2g}.",
            ),
        ),
        numbers=numbers,
        notes=(
            f"The Gaussian explains half of the denoised sample at {len(judged)} of {len(record.sigma)} noise levels.",
            f"Of {record.residuals.shape[2] - 1} components the Gaussian needs {listed}.",
        ),
    )


def _order(record: Record, judged: list[int]) -> Interval:
    """The rank correlation of components needed and falling noise over the scales judged; 0 where all need as many."""
    residuals, whole = record.residuals[judged], record.whole["denoiser"][judged]

    def of(rows: np.ndarray) -> float:
        weights = np.bincount(rows, minlength=whole.shape[1])  # sums, not copies: there are many components
        curves = 1 - np.einsum("n,mnr->mr", weights, residuals) / (whole @ weights)[:, None]
        ranks = (curves >= curves[:, -1:] - CLOSE).argmax(1)
        return rank_correlation(-record.sigma[judged], ranks) if np.ptp(ranks) else 0.0

    return interval(of, np.arange(whole.shape[1]), draws=200)


def _ratio(record: Record, i: int, span: Interval) -> Interval:
    """The rank needed at a scale over the closed form's, no rank being counted as less than 1."""
    return Interval(*(max(one, 1.0) / max(float(record.expected[i]), 1.0) for one in span))


def draw(record: Record) -> Figure:
    """The explained variance against the rank at some scales, and the rank needed against the noise."""
    figure, (first, second) = panels(2, width=4.8)
    picked = np.flatnonzero((record.sigma > 0.05) & (record.sigma < 20))[::2]
    shades = np.linspace(0.85, 0.1, len(picked))
    for i, shade in zip(picked, shades, strict=True):
        curve = 1 - record.residuals[i].sum(0) / record.whole["denoiser"][i].sum()
        color = (0.0, 0.45 * shade, 0.7, 1 - 0.8 * shade)
        first.plot(np.arange(len(curve)), curve, color=color, label=f"σ = {record.sigma[i]:.2g}")
    first.set(xscale="symlog", ylim=(-0.1, 1.05), xlabel="number of components", ylabel="explained variance")
    first.set_title("denoised sample, by the truncated Gaussian", fontsize=10)
    rank = [needed(*pair) for pair in zip(record.residuals, record.whole["denoiser"], strict=True)]
    second.plot(record.sigma, rank, "ko-", label="of the network")
    second.plot(record.sigma, record.expected, "--", color="#0072b2", label="closed form")
    second.set(ylabel="components needed", title="rank within .01 of the whole Gaussian's")
    middle, total = int(np.argmin(np.abs(np.log(record.sigma)))), record.residuals.shape[2] - 1
    figure.suptitle(f"At σ = {record.sigma[middle]:.2g} {rank[middle]} of {total} components do as well as all")
    return noise_axes(figure, second)


RANK = Experiment(
    name="A8",
    title="The Gaussian needs more components as the noise falls",
    claim="To explain the network the Gaussian needs more of the data's principal components as the noise falls, about "
    "as many as if the network were the Gaussian itself.",
    published="No number was published; Wang & Vastola, arXiv 2303.02490 and follow-ups.",
    criterion="Agrees where, over the noise scales at which the Gaussian explains half of the denoised sample (three "
    "or more), the number of components needed (1) rises as noise falls (rank correlation of at least .9) and (2) is "
    "within a factor 2 of the closed form at every one of them; in part where (1) or (2) holds.",
    caption="Left: how much of the network's denoised sample the Gaussian of the first components explains. Right: how "
    "many components it needs to come within .01 of all, beside the closed form for a network that is the Gaussian.",
    headline=Headline("rank correlation of noise and components needed", ("order_correlation",)),
    measure=measure,
    find=find,
    draw=draw,
)
