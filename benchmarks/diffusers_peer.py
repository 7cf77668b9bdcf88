"""The samplers of diffusers beside ours: the same levels, the same closed-form denoiser, the same noise.

Needs torch and diffusers, which nothing else here does, so in an environment of its own:

    pip install -e '.[all]' torch diffusers
    python -m benchmarks.diffusers_peer --write     # docs/diffusers.md

A scheduler says at which sigmas it works; ours are run on just these, and both are held against the exact flow.
"""

# pyright: reportMissingImports=false

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

os.environ.setdefault("JAX_ENABLE_X64", "1")  # before jax: what differs is then the method

import diffusers
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch

import gaussdiff as gd
from gaussdiff.samplers.adams import EVEN_WEIGHTS
from gaussdiff.samplers.multistep import History, NoiseMultistep, by_order, gauss_legendre, polynomial_weights
from gaussdiff.samplers.sample import follow

PAGE = Path(__file__).parents[1] / "docs" / "diffusers.md"
COUNT = 16  # samples
STEPS = 5, 10, 20, 40
AGREE = 1e-4  # of the data's largest standard deviation

GAUSSIAN = gd.Gaussian(np.array([0.5, -1.0, 0.0]), np.array([4.0, 1.0, 0.01]), np.eye(3))
MIXTURE = gd.GaussianMixture(
    np.log([0.3, 0.7]),
    [gd.Gaussian(mean, np.array([1.0, 0.2, 0.05]), np.eye(3)) for mean in np.array([[2.0, 0, 1], [-1, 1, 0]])],
)
LAWS = {"Gaussian": GAUSSIAN, "mixture": MIXTURE}
SCALE = 2.0  # the largest standard deviation of either law, about


class Frame(NamedTuple):
    """How a scheduler means its sigmas: the levels of its calls and its end, and what it asks a model for."""

    levels: Callable[[Any], gd.NoiseLevel]
    output: Callable[[Any, np.ndarray, gd.NoiseLevel, np.ndarray], np.ndarray]


def _noise(scheduler, x, level, x0):
    return (x - level.alpha * x0) / level.sigma


def _v(scheduler, x, level, x0):
    return level.alpha * _noise(scheduler, x, level, x0) - level.sigma * x0


def _edm(scheduler, x, level, x0):
    """The raw network of EDM's preconditioning."""
    width = scheduler.config.sigma_data
    scale = level.sigma**2 + width**2
    return (x0 - width**2 / scale * x) * np.sqrt(scale) / (level.sigma * width)


def _sigmas(scheduler) -> np.ndarray:
    """Of every call of the model, and of the end."""
    sigmas = scheduler.sigmas.double().numpy()
    if hasattr(scheduler, "sigmas_interpol"):
        between = np.arange(len(sigmas)) % 2 == 1
        sigmas = np.where(between, scheduler.sigmas_interpol.double().numpy(), sigmas)
    return sigmas[: len(scheduler.timesteps) + 1]


def _exploding(scheduler) -> gd.NoiseLevel:
    sigma = _sigmas(scheduler)
    return gd.NoiseLevel(np.ones_like(sigma), sigma)


def _preserving(scheduler) -> gd.NoiseLevel:
    sigma = _sigmas(scheduler)
    return gd.NoiseLevel(1 / np.sqrt(1 + sigma**2), sigma / np.sqrt(1 + sigma**2))


def _discrete(scheduler) -> gd.NoiseLevel:
    kept = np.append(scheduler.alphas_cumprod.double().numpy()[scheduler.timesteps.numpy()], 1.0)
    return gd.NoiseLevel(np.sqrt(kept), np.sqrt(1 - kept))


def _line(scheduler) -> gd.NoiseLevel:
    sigma = _sigmas(scheduler)
    return gd.NoiseLevel(1 - sigma, sigma)


EXPLODING, EDM = Frame(_exploding, _noise), Frame(_exploding, _edm)
PRESERVING, DISCRETE, DISCRETE_V = Frame(_preserving, _noise), Frame(_discrete, _noise), Frame(_discrete, _v)
IPNDM = Frame(lambda s: gd.NoiseLevel(s.alphas.double().numpy(), s.betas.double().numpy()), _v)
LINE = Frame(_line, lambda s, x, level, x0: _noise(s, x, level, x0) - x0)


class LogRho(NoiseMultistep):
    """DEIS with its polynomials in log(sigma / alpha), the measure d(sigma / alpha)."""

    order: int = eqx.field(static=True)

    def weights(self, history: History, level: gd.NoiseLevel, next_level: gd.NoiseLevel) -> jax.Array:
        return by_order(self._rule, history, level, next_level)

    def _rule(self, levels: gd.NoiseLevel, next_level: gd.NoiseLevel) -> jax.Array:
        points, mass = gauss_legendre(levels.sigma.dtype)
        clock = -levels.log_snr / 2
        at = clock[0] + points * (-next_level.log_snr / 2 - clock[0])
        return polynomial_weights(clock, at, mass * jnp.exp(at - clock[0]))[1:]


class Plain(NoiseMultistep):
    """iPNDM that neither forgets what it saw at alpha = 0 nor lowers its order for the step to sigma = 0."""

    order: int = eqx.field(static=True)

    def weights(self, history: History, level: gd.NoiseLevel, next_level: gd.NoiseLevel) -> jax.Array:
        rows = jnp.array([[*row, *[0.0] * (self.memory - len(row))] for row in EVEN_WEIGHTS[: self.order]])
        return rows[jnp.minimum(history.index, self.memory)]


class ToZero(NoiseMultistep):
    """Adams-Bashforth that keeps its order in the step to sigma = 0."""

    order: int = eqx.field(static=True)

    def weights(self, history: History, level: gd.NoiseLevel, next_level: gd.NoiseLevel) -> jax.Array:
        sigma = jnp.where(next_level.sigma > 0, next_level.sigma, 1e-9 * level.sigma)
        return gd.AdamsBashforth(self.order).weights(history, level, gd.NoiseLevel(next_level.alpha, sigma))


class Pair(NamedTuple):
    """One of theirs and the one of ours of its name; `same` is ours with the choices in which theirs differs."""

    theirs: str
    options: dict[str, Any]
    frame: Frame
    ours: gd.Sampler
    name: str
    why: str = ""
    same: gd.Sampler | None = None
    calls: int = 1  # of the model in a step


KARRAS = {"use_karras_sigmas": True}
LOWERED = "below 15 steps theirs lowers its order for the last two steps; with lower_order_final=False it is ours"
UNIPC = {"timestep_spacing": "leading", "final_sigmas_type": "sigma_min", "lower_order_final": False}
ORDERS_END = "theirs lowers its order for the last steps, whatever their number; without that (below) it is ours"
PAIRS = [
    Pair("EulerDiscrete", KARRAS, EXPLODING, gd.Euler(), "Euler"),
    Pair("EDMEuler", {}, EDM, gd.Euler(), "Euler"),
    Pair("FlowMatchEulerDiscrete", {}, LINE, gd.Euler(), "Euler"),
    Pair("HeunDiscrete", KARRAS, EXPLODING, gd.Heun(), "Heun", calls=2),
    Pair("FlowMatchHeunDiscrete", {}, LINE, gd.Heun(), "Heun", calls=2),
    Pair("DDIM", {"clip_sample": False}, DISCRETE, gd.DDIM(), "DDIM"),
    Pair("DDPM", {"clip_sample": False}, DISCRETE, gd.Ancestral(), "Ancestral"),
    Pair("DDPM", {"clip_sample": False, "variance_type": "fixed_large"}, DISCRETE, gd.Ancestral(1.0), "Ancestral(1)"),
    Pair("EulerAncestralDiscrete", {}, EXPLODING, gd.DDIM(1.0), "DDIM(1)"),
    Pair("KDPM2Discrete", KARRAS, EXPLODING, gd.DPMSolver2(), "DPMSolver2", calls=2),
    Pair("DPMSolverMultistep", KARRAS | {"solver_order": 2}, PRESERVING, gd.DPMSolverPP2M(), "DPMSolverPP2M"),
    Pair("EDMDPMSolverMultistep", {"solver_order": 2}, EDM, gd.DPMSolverPP2M(), "DPMSolverPP2M"),
    Pair(
        "DPMSolverMultistep",
        KARRAS | {"algorithm_type": "sde-dpmsolver++"},
        PRESERVING,
        gd.DPMSolverPP2MSDE(),
        "DPMSolverPP2MSDE",
    ),
    Pair("DPMSolverMultistep", KARRAS | {"solver_order": 3}, PRESERVING, gd.DPMSolverPP3M(), "DPMSolverPP3M", LOWERED),
    Pair(
        "DPMSolverMultistep",
        KARRAS | {"solver_order": 3, "lower_order_final": False},
        PRESERVING,
        gd.DPMSolverPP3M(),
        "DPMSolverPP3M",
    ),
    Pair(
        "EDMDPMSolverMultistep",
        {"solver_order": 3, "lower_order_final": False},
        EDM,
        gd.DPMSolverPP3M(),
        "DPMSolverPP3M",
    ),
    Pair("UniPCMultistep", KARRAS | {"solver_type": "bh2"}, PRESERVING, gd.UniPC(2), "UniPC(2)"),
    Pair(
        "UniPCMultistep",
        KARRAS | {"solver_type": "bh1"},
        PRESERVING,
        gd.UniPC(2, "bh1"),
        'UniPC(2, "bh1")',
        "theirs is NaN: its step in log-SNR to sigma = 0 is infinite, and bh1 multiplies with it",
    ),
    Pair("UniPCMultistep", UNIPC | {"solver_type": "bh1"}, PRESERVING, gd.UniPC(2, "bh1"), 'UniPC(2, "bh1")'),
    Pair("UniPCMultistep", KARRAS | {"solver_order": 3}, PRESERVING, gd.UniPC(3), "UniPC(3)", ORDERS_END),
    Pair("UniPCMultistep", UNIPC | {"solver_order": 3}, PRESERVING, gd.UniPC(3), "UniPC(3)"),
    Pair(
        "DEISMultistep",
        {"timestep_spacing": "leading", "lower_order_final": False, "solver_order": 3},
        PRESERVING,
        gd.DEIS(3),
        "DEIS(3)",
        "theirs has its polynomials in log(sigma / alpha), ours in the schedule's time, as the paper's tAB",
        LogRho(3),
    ),
    Pair(
        "LMSDiscrete",
        KARRAS,
        EXPLODING,
        gd.AdamsBashforth(4),
        "AdamsBashforth(4)",
        "theirs keeps its order in the step to sigma = 0, where ours is DDIM",
        ToZero(4),
    ),
    Pair(
        "IPNDM",
        {},
        IPNDM,
        gd.IPNDM(4),
        "IPNDM(4)",
        "theirs takes x0 to be 0 at alpha = 0, where the model knows the mean, counts that step's noise among the"
        " others, and keeps its order to sigma = 0",
        gd.AFS(Plain(4)),
    ),
]


def theirs(scheduler, frame: Frame, model: gd.Denoiser, x: np.ndarray) -> np.ndarray:
    """Where the scheduler ends from x (count, D)."""
    denoise, levels = jax.jit(jax.vmap(model.denoise, in_axes=(0, None))), frame.levels(scheduler)
    for k, t in enumerate(scheduler.timesteps):
        getattr(scheduler, "scale_model_input", lambda x, t: x)(torch.tensor(x), t)  # which sets its counter
        output = frame.output(scheduler, x, levels[k], np.asarray(denoise(x, levels[k])))
        x = scheduler.step(torch.tensor(output), t, torch.tensor(x), return_dict=False)[0].double().numpy()
    return x


def grid(pair: Pair, scheduler) -> gd.NoiseLevel:
    """The levels of its steps: of every other call where a step takes two."""
    levels = pair.frame.levels(scheduler)
    kept = np.append(np.arange(0, len(levels) - 1, pair.calls), len(levels) - 1)
    levels = levels[kept]
    return levels[:-1] if levels.sigma[-1] == levels.sigma[-2] else levels


def compare(pair: Pair, n: int, model: gd.Denoiser) -> np.ndarray:
    """How far theirs is from ours, from ours with theirs' choices and from the exact flow, and ours from that."""
    scheduler = getattr(diffusers, f"{pair.theirs}Scheduler")(**pair.options)
    scheduler.set_timesteps(n)
    levels = grid(pair, scheduler)
    rng = np.random.default_rng(n)
    x = float(levels.sigma[0]) * rng.normal(size=(COUNT, 3))
    noise = rng.normal(size=(len(levels) - 1, pair.ours.draws(), COUNT, 3))
    drawn = iter(noise[:, 0]) if pair.ours.draws() else iter(())
    module = sys.modules[type(scheduler).__module__]
    with patch.object(module, "randn_tensor", lambda *_, **__: torch.tensor(next(drawn)), create=True):
        found = theirs(scheduler, pair.frame, model, x)
    own = _ours(pair.ours, model, x, levels, noise)
    same = own if pair.same is None else _ours(pair.same, model, x, levels, noise)
    exact = truth(model, x, levels[0], levels[-1])
    ends = (found, own), (found, same), (found, exact), (own, exact)
    return np.array([np.abs(a - b).max() for a, b in ends]) / SCALE


def _ours(
    sampler: gd.Sampler, model: gd.Denoiser, x: np.ndarray, levels: gd.NoiseLevel, noise: np.ndarray
) -> jax.Array:
    def end(model, x, noise):
        return follow(sampler, model, x, levels, noise).x[-1]

    return jax.jit(jax.vmap(end, in_axes=(None, 0, 2)))(model, x, noise)


@jax.jit
def truth(model: gd.Denoiser, x: np.ndarray, start: gd.NoiseLevel, end: gd.NoiseLevel) -> jax.Array:
    """Where the flow ends: in closed form for the Gaussian, in 4,000 steps of Heun for the mixture."""
    if isinstance(model, gd.Gaussian):
        return jax.vmap(gd.gaussian_flow, in_axes=(None, 0, None, None))(model, x, start, end)
    first = jnp.minimum(1e4, start.sigma / jnp.maximum(start.alpha, 1e-30))  # alpha = 0 is as good as 1e4
    last = end.sigma / end.alpha
    low = jnp.where(last > 0, last, 1e-5)
    sigma = jnp.exp(jnp.linspace(jnp.log(first), jnp.log(low), 4000)).at[-1].set(low)
    fine = gd.NoiseLevel(1.0, jnp.where(last > 0, sigma, jnp.append(sigma[1:], 0.0)))
    heun = jax.vmap(gd.sample, in_axes=(None, None, 0, None))
    return end.alpha * heun(gd.Heun(), model, x * first / start.sigma, fine).x[:, -1]


def table() -> str:
    """One line for each pair: the worst over laws and numbers of steps; the errors are at 20 steps of the Gaussian."""
    lines = [
        "| theirs | ours | difference | error of theirs | of ours | why they differ |",
        "|---|---|---|---|---|---|",
    ]
    for pair in PAIRS:
        found = {(name, n): compare(pair, n, law) for name, law in LAWS.items() for n in STEPS}
        apart, same = (max(values[i] for values in found.values()) for i in (0, 1))
        why = pair.why
        if pair.same:
            why += f"; with ours so changed the difference is {same:.0e}"
        errors = [found["Gaussian", 20][i] for i in (2, 3)] if not pair.ours.draws() else [np.nan, np.nan]
        shown = [f"{value:.1e}" if np.isfinite(value) else "" for value in errors]
        options = ", ".join(f"{name}={value}" for name, value in pair.options.items() if name != "clip_sample")
        worst = f"{apart:.0e}" if np.isfinite(apart) else "NaN"
        lines.append(f"| {pair.theirs}({options}) | {pair.name} | {worst} | {' | '.join(shown)} | {why} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


HEAD = """# Beside diffusers

What users of PyTorch have, on the same closed-form denoiser (a Gaussian and a mixture of three coordinates), the same
sigmas (those that each scheduler says it uses, read from it), the same starts and the same noise; each scheduler is
asked for {steps} steps. Written by `python -m benchmarks.diffusers_peer --write` with {versions}, ours in float64;
theirs keeps its sigmas in float32, which is a difference of about 1e-6.

Difference: the largest of any coordinate of {count} samples at the end, over laws and numbers of steps, in units
of the data's largest standard deviation. Errors: of either against the exact flow at 20 steps on the Gaussian, where no
noise is drawn. Below {agree:.0e} the two are one algorithm. Where they are not, the last column says why, and holds the
test of the reason: ours with theirs' choice agrees with theirs.

"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diffusers_peer", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the table in docs/diffusers.md")
    options = parser.parse_args()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("diffusers", "torch", "jax"))
    steps = ", ".join(map(str, STEPS))
    text = HEAD.format(steps=steps, versions=versions, count=COUNT, agree=AGREE) + table() + "\n"
    if options.write:
        PAGE.write_text(text)


if __name__ == "__main__":
    main()
