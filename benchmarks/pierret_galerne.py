"""The schemes of Pierret & Galerne (arXiv 2405.14250) and their exact errors, through the engine.

Variance-preserving diffusion in its own time, beta(t) = -d log alpha / dt, from t = 1 to epsilon in even steps h:

    Euler-Maruyama         y' = y + h beta (y + 2 score) + sqrt(2 h beta) z
    exponential integrator y' = y + (a - 1) (y + 2 score) + sqrt(a^2 - 1) z,   a = alpha' / alpha
    DDPM                   y' = (y + b score) / sqrt(1 - b) + sqrt(b) z,   b = 2 h beta
    Euler, Heun, RK4       of the flow dy = -beta (y + score) dt

`python -m benchmarks.pierret_galerne` prints the tables, --write puts them into docs/solvers.md; --data adds data sets.
"""

import argparse
import re
from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import gaussdiff as gd
from gaussdiff.samplers.base import Memoryless, Sampler, Step
from training.data.dataset import load

PAGE = Path(__file__).parent.parent / "docs" / "solvers.md"
BUDGETS = (50, 250, 500, 1000)
EPSILONS = (0.0, 1e-5, 1e-4, 1e-3, 1e-2)
# 32 x 32 x 3 variances; the three constants give exact integration nearly the errors printed for CIFAR-10's covariance
_k = np.arange(1, 3073)
POWER_LAW = 220 * _k**-1.57 * (1 - _k / 3073) ** 1.33

# W2 from N(0, I) as printed in the notebook published with the paper, for CIFAR-10's covariance
EPSILONS_THEIRS = (0.0, 1e-5, 1e-4, 1e-3)
CONTINUOUS_THEIRS = {"reverse SDE": (6.7e-4, 4.2e-3, 0.03, 0.18), "flow": (0.07, 0.07, 0.08, 0.19)}
THEIRS = {
    "Euler-Maruyama": ((4.78, 4.77, 4.76, 4.68), (0.66, 0.66, 0.66, 0.70), (0.32, 0.32, 0.32, 0.40)),
    "exponential integrator": ((2.81, 2.81, 2.82, 2.91), (0.57, 0.57, 0.58, 0.67), (0.30, 0.30, 0.31, 0.41)),
    "DDPM": ((6.82, 6.82, 6.81, 6.74), (0.97, 0.97, 0.98, 1.00), (0.47, 0.47, 0.47, 0.53)),
    "Euler": ((1.78, 1.78, 1.78, 1.79), (0.44, 0.44, 0.44, 0.48), (0.26, 0.26, 0.26, 0.32)),
    "Heun, uncounted": ((None, 23.42, 4.68, 0.59), (None, 2.87, 0.44, 0.15), (None, 1.06, 0.14, 0.18)),
    "RK4": ((None, 67.32, 14.35, 2.60), (None, 5.49, 0.93, 0.12), (None, 2.11, 0.29, 0.17)),
}
# their one row for Heun, beside both ways of counting its calls
THEIRS["Heun"] = THEIRS["Heun, uncounted"]


class InTime(Memoryless):
    """A scheme in the time t of a variance-preserving schedule, with `calls` model calls a step."""

    schedule: gd.VariancePreserving
    calls: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    def draws(self) -> int:
        return int(self.stochastic)

    def nfe(self, n: int) -> int:
        return self.calls * n

    def step(self, model, x, state, level, next_level, noise) -> Step:
        t, s = self.schedule.time_at(level.log_snr), self.schedule.time_at(next_level.log_snr)
        z = noise[0] if self.stochastic else jnp.zeros_like(x)
        return Step(self.move(model, x, t, s, z), model.denoise(x, level))

    @abstractmethod
    def move(self, model: gd.Denoiser, x: Array, t: Array, s: Array, z: Array) -> Array:
        """x at time t carried to time s < t."""

    def beta(self, t: Array) -> Array:
        return -jax.grad(lambda t: jnp.log(self.schedule(t).alpha))(t)

    def score(self, model: gd.Denoiser, x: Array, t: Array) -> Array:
        return gd.score(model, x, self.schedule(t))

    def drift(self, model: gd.Denoiser, x: Array, t: Array) -> Array:
        """Of the flow, in falling time."""
        return self.beta(t) * (x + self.score(model, x, t))


class EulerMaruyama(InTime):
    stochastic = True

    def move(self, model, x, t, s, z):
        rate = (t - s) * self.beta(t)
        return x + rate * (x + 2 * self.score(model, x, t)) + jnp.sqrt(2 * rate) * z


class Exponential(InTime):
    stochastic = True

    def move(self, model, x, t, s, z):
        growth = self.schedule(s).alpha / self.schedule(t).alpha
        return x + (growth - 1) * (x + 2 * self.score(model, x, t)) + jnp.sqrt(growth**2 - 1) * z


class DDPM(InTime):
    stochastic = True

    def move(self, model, x, t, s, z):
        rate = 2 * (t - s) * self.beta(t)
        return (x + rate * self.score(model, x, t)) / jnp.sqrt(1 - rate) + jnp.sqrt(rate) * z


class Euler(InTime):
    def move(self, model, x, t, s, z):
        return x + (t - s) * self.drift(model, x, t)


class Heun(InTime):
    calls = 2

    def move(self, model, x, t, s, z):
        first = self.drift(model, x, t)
        return x + (t - s) / 2 * (first + self.drift(model, x + (t - s) * first, s))


class RK4(InTime):
    calls = 4

    def move(self, model, x, t, s, z):
        h, middle = t - s, (t + s) / 2
        first = self.drift(model, x, t)
        second = self.drift(model, x + h / 2 * first, middle)
        third = self.drift(model, x + h / 2 * second, middle)
        return x + h / 6 * (first + 2 * second + 2 * third + self.drift(model, x + h * third, s))


class Row(NamedTuple):
    """W2 (budgets, epsilons) of one scheme on one spectrum: from the true marginal at t = 1, and from N(0, I)."""

    steps: list[int]
    exact_start: np.ndarray
    noise_start: np.ndarray


def schemes() -> dict[str, tuple[Sampler, int]]:
    """Samplers, and the calls a step that their budget is divided by: Heun once as it is and once uncounted."""
    vp = gd.VariancePreserving()
    own = {"DDIM": gd.DDIM(), "DPM-Solver++(2M)": gd.DPMSolverPP2M(), "UniPC": gd.UniPC()}
    return {
        "Euler-Maruyama": (EulerMaruyama(vp), 1),
        "exponential integrator": (Exponential(vp), 1),
        "DDPM": (DDPM(vp), 1),
        "Euler": (Euler(vp), 1),
        "Heun": (Heun(vp), 2),
        "Heun, uncounted": (Heun(vp), 1),
        "RK4": (RK4(vp), 4),
        **{f"{name} (not theirs)": (sampler, 1) for name, sampler in own.items()},
    }


@eqx.filter_jit
def laws(sampler: Sampler, levels: gd.NoiseLevel, variances: Array) -> tuple[Array, Array]:
    """The gain and the injected variance (grids, K) of a sampler on a stack of grids."""
    one = lambda grid: (gd.transfer(sampler, grid, variances), gd.design.injected_variance(sampler, grid, variances))  # noqa: E731
    return jax.vmap(one)(levels)


def grids(n: int) -> gd.NoiseLevel:
    """n even steps of time from 1 to each epsilon, stacked."""
    made = [gd.grids.uniform_time(gd.VariancePreserving(), n, end=epsilon) for epsilon in EPSILONS]
    return jax.tree.map(lambda *parts: jnp.stack(parts), *made)


def marginals(variances: np.ndarray, level: gd.NoiseLevel) -> np.ndarray:
    return float(level.alpha) ** 2 * variances + float(level.sigma) ** 2


def w2(variances: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.sqrt(np.sum((np.sqrt(variances) - np.sqrt(others)) ** 2, axis=-1))


def measure(spectra: dict[str, np.ndarray]) -> dict[str, dict[str, Row]]:
    """{spectrum: {scheme: Row}}, all spectra in one run of each scheme."""
    together, ends = np.concatenate(list(spectra.values())), np.cumsum([len(part) for part in spectra.values()])[:-1]
    start = marginals(together, gd.VariancePreserving()(1.0))
    rows: dict[str, dict[str, Row]] = {name: {} for name in spectra}
    for scheme, (sampler, cost) in schemes().items():
        # theirs are N points, so N - 1 steps
        steps = [budget // cost - 1 for budget in BUDGETS]
        found = [[np.asarray(part) for part in laws(sampler, grids(n), jnp.asarray(together))] for n in steps]
        for name, pick in zip(spectra, np.split(np.arange(len(together)), ends), strict=True):
            errors = [
                [w2(gain[:, pick] ** 2 * first[pick] + added[:, pick], together[pick]) for gain, added in found]
                for first in (start, np.ones_like(start))
            ]
            rows[name][scheme] = Row(steps, np.array(errors[0]), np.array(errors[1]))
        print(scheme, flush=True)
    return rows


def continuous(variances: np.ndarray) -> dict[str, np.ndarray]:
    """W2 (epsilons,) of the exact reverse SDE and of the exact flow from N(0, I), and from the true marginal."""
    vp = gd.VariancePreserving()
    first, start = vp(1.0), marginals(variances, vp(1.0))
    errors: dict[str, list[float]] = {"either, exact start": [], "reverse SDE": [], "flow": []}
    for epsilon in EPSILONS:
        level = vp(epsilon)
        here = marginals(variances, level)
        gain = float(first.alpha / level.alpha) * here / start
        errors["either, exact start"].append(float(w2(here, variances)))
        errors["reverse SDE"].append(float(w2(here + gain**2 * (1 - start), variances)))
        errors["flow"].append(float(w2(here / start, variances)))
    return {name: np.array(values) for name, values in errors.items()}


def beside(row: dict[str, Row], smooth: dict[str, np.ndarray]) -> str:
    """Their numbers beside ours on the power law, from N(0, I)."""
    lines = _head(["", "ε", "continuous", *(f"NFE {budget}" for budget in BUDGETS[:3])])
    for scheme, theirs in THEIRS.items():
        kind = "reverse SDE" if schemes()[scheme][0].draws() else "flow"
        for e, epsilon in enumerate(EPSILONS_THEIRS):
            pairs = [(CONTINUOUS_THEIRS[kind][e], smooth[kind][e])]
            pairs += [(theirs[b][e], row[scheme].noise_start[b, e]) for b in range(3)]
            lines.append(_line([scheme if e == 0 else "", f"{epsilon:g}", *(_pair(*pair) for pair in pairs)]))
    return "\n".join(lines)


def agreement(row: dict[str, Row]) -> str:
    """The range of ours / theirs over the discretised entries of each scheme."""
    lines = _head(["", "ours / theirs, least", "median", "largest"])
    for scheme, theirs in THEIRS.items():
        printed = np.array(theirs, float)
        ratios = (row[scheme].noise_start[:3, : len(EPSILONS_THEIRS)] / printed)[np.isfinite(printed)]
        lines.append(_line([scheme, *(f"{value:.2f}" for value in np.quantile(ratios, [0, 0.5, 1]))]))
    return "\n".join(lines)


def matched(row: dict[str, Row]) -> str:
    """W2 from N(0, I) at equal numbers of calls: the best epsilon of each scheme, and which it is."""
    lines = _head(["", *(f"{budget} calls" for budget in BUDGETS)])
    counted = {name: part for name, part in row.items() if name != "Heun, uncounted"}
    best = np.min([part.noise_start.min(1) for part in counted.values()], axis=0)
    for name, part in counted.items():
        cells = []
        for b, errors in enumerate(part.noise_start):
            text = f"{_number(errors.min())} (ε = {EPSILONS[errors.argmin()]:g})"
            cells.append(f"**{text}**" if errors.min() == best[b] else text)
        lines.append(_line([name, *cells]))
    return "\n".join(lines)


def starts(row: dict[str, Row]) -> str:
    """W2 from the true marginal and from N(0, I) at epsilon 1e-3: what the start costs each scheme."""
    lines = _head(["", *(f"{budget} calls" for budget in BUDGETS)])
    e = EPSILONS.index(1e-3)
    for name, part in row.items():
        if name != "Heun, uncounted":
            pairs = zip(part.exact_start[:, e], part.noise_start[:, e], strict=True)
            lines.append(_line([name, *(f"{_number(exact)} → {_number(noise)}" for exact, noise in pairs)]))
    return "\n".join(lines)


def _head(names: list[str]) -> list[str]:
    return [_line(names), "|" + "---|" * len(names)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _pair(theirs: float | None, ours: float) -> str:
    return f"{'–' if theirs is None else _number(theirs)} / {_number(ours)}"


def _number(value: float) -> str:
    return f"{value:.2g}" if abs(value) < 100 else f"{value:.0f}"


def spectrum(name: str) -> np.ndarray:
    gaussian = gd.Gaussian.from_samples(load(name).train.astype(np.float64))
    return np.asarray(gaussian.eigvals, np.float64)


def written(page: str, parts: dict[str, str]) -> str:
    """The page with what stands between <!-- name --> and <!-- /name --> replaced."""
    for name, text in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(\n<!-- /{name} -->)"
        page, count = re.subn(pattern, lambda m, text=text: m[1] + text + m[2], page, flags=re.DOTALL)
        if count != 1:
            raise ValueError(f"name: expected one block <!-- {name} --> in {PAGE.name}, got {count}.")
    return page


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pierret_galerne", description=__doc__)
    parser.add_argument("--data", nargs="*", default=["digits"], help="data sets, as for training")
    parser.add_argument("--write", action="store_true", help=f"put the tables into docs/{PAGE.name}")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    spectra = {"power law": POWER_LAW, **{name: spectrum(name) for name in options.data}}
    rows = measure(spectra)
    parts = {
        "theirs": beside(rows["power law"], continuous(POWER_LAW)),
        "agreement": agreement(rows["power law"]),
        "matched": "\n\n".join(f"W2, {name}:\n\n{matched(row)}" for name, row in rows.items()),
        "starts": starts(rows["power law"]),
    }
    print("\n\n".join(parts.values()))
    if options.write:
        PAGE.write_text(written(PAGE.read_text(), parts))


if __name__ == "__main__":
    main()
