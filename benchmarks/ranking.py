"""Does the exact table of solver errors say which solver is best for a trained network?

    python -m benchmarks.ranking --run RUN     # docs/ranking.png, ranking.json; prints tables

trains nothing. Every deterministic sampler on every usual grid, within 3 to 20 calls of the network: how far its ends
are from those of 500 steps of Heun from the same noise (root mean square per entry), and the Frechet distance of its
samples. Beside it what is known without the network: the exact W2 on the data's Gaussian, and the same distance of ends
on the data set as a law, with the bandwidth of the highest held-out likelihood. And what a closed-form start saves.
"""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

import gaussdiff as gd
import training
from analysis.measures import paths
from gaussdiff.design.table import Grid
from training.data import dataset
from training.evaluation.features import learn_features

CALLS = (3, 4, 5, 6, 8, 10, 12, 15, 20)
SHOWN = (5, 10, 20)
SWITCHES = (80.0, 40.0, 20.0, 10.0, 5.0, 2.5)
TELEPORTED = {"Heun": gd.Heun(), "DPM-Solver++(2M)": gd.DPMSolverPP2M(), "iPNDM": gd.IPNDM()}
DOCS = Path(__file__).parents[1] / "docs"
RECORD = Path(__file__).with_suffix(".json")


@eqx.filter_jit
def step(sampler, model, x, state, level, next_level):
    """One step of a batch; compiled once for a sampler and a model, whatever the grid and its length."""

    def one(x, state):
        return sampler.step(model, x, state, level, next_level, jnp.zeros((sampler.draws(), *x.shape), x.dtype))

    made = jax.vmap(one)(x, state)
    return made.x, made.state


def ends(sampler: gd.Sampler, model: gd.Denoiser, x: jax.Array, levels: gd.NoiseLevel) -> jax.Array:
    """Where a batch of starts x (B, *event) for sigma / alpha = 80 ends; the grid may be of any frame."""
    x = x * levels.sigma[0] / 80
    state = jax.vmap(lambda x: sampler.init(x, levels))(x)
    for i in range(len(levels) - 1):
        x, state = step(sampler, model, x, state, levels[i], levels[i + 1])
    return x


def rms(a: jax.Array, b: jax.Array) -> float:
    return float(jnp.sqrt(jnp.mean((a - b) ** 2)))


def grids() -> dict[str, Grid]:
    """Those of the table, and two that stop at sigma = 0.02 for their step to 0."""
    early = {
        "EDM from 0.02": lambda n: gd.grids.karras(n, 0.02),
        "log-SNR from 0.02": lambda n: gd.grids.uniform_log_snr(n, 0.02),
    }
    return gd.design.standard_grids() | early


def measure(run: Path, count: int, seed: int) -> dict:
    model, config = training.load(run), training.load_config(run)
    found = dataset.load_for(config)
    gaussian = gd.Gaussian.from_samples(found.train.astype(np.float64))
    samplers = {name: sampler for name, sampler in gd.design.standard_samplers().items() if not sampler.draws()}
    table = gd.solver_table(gaussian, samplers, grids(), CALLS)
    starts = 80 * jax.random.normal(jax.random.key(seed), (count, *found.shape), jnp.float32)
    law = gd.Empirical(found.train, gd.fitting.choose_bandwidth(found.train, found.held_out))
    features = learn_features(found)
    frechet = lambda x: gd.metrics.frechet_distance(features.extract(np.asarray(x)), features.extract(found.held_out))  # noqa: E731
    fine = gd.grids.karras(500)
    truth = {name: ends(gd.Heun(), each, starts, fine) for name, each in (("network", model), ("data set", law))}
    shape = table.w2.shape
    record = {
        "network": np.full(shape, np.nan),
        "data set": np.full(shape, np.nan),
        "Frechet": np.full(shape, np.nan),
        "Gaussian": table.w2,
    }
    for i, sampler in enumerate(samplers.values()):
        for j, grid in enumerate(grids().values()):
            for k, n in enumerate(table.steps[i]):
                if n:
                    own = ends(sampler, model, starts, grid(int(n)))
                    record["network"][i, j, k] = rms(own, truth["network"])
                    record["Frechet"][i, j, k] = frechet(own)
                    record["data set"][i, j, k] = rms(ends(sampler, law, starts, grid(int(n))), truth["data set"])
        print(f"{table.samplers[i]}: {i + 1} of {len(samplers)}", flush=True)
    return {
        "data": config.data,
        "starts": count,
        "bandwidth": float(law.bandwidth),
        "samplers": list(table.samplers),
        "grids": list(table.grids),
        "calls": list(CALLS),
        "frechet_of_truth": frechet(truth["network"]),
        **{name: values.tolist() for name, values in record.items()},
        "teleport": teleport(model, gaussian, starts, truth["network"]),
    }


def teleport(model: gd.Denoiser, gaussian: gd.Gaussian, starts: jax.Array, truth: jax.Array) -> dict:
    """sampler -> sigma of the switch -> distance for each number of calls, on the EDM grid from there on."""

    def distance(sampler: gd.Sampler, sigma: float, calls: int) -> float:
        n = max(n for n in range(1, calls + 1) if sampler.nfe(n) <= calls)
        moved = starts
        if sigma < 80:
            pair = gd.NoiseLevel(1.0, 80.0), gd.NoiseLevel(1.0, sigma)
            moved = jax.vmap(gd.gaussian_flow, in_axes=(None, 0, None, None))(gaussian, starts, *pair)
        return rms(ends(sampler, model, moved * 80 / sigma, gd.grids.karras(n, sigma_max=sigma)), truth)

    return {
        name: {str(sigma): [distance(sampler, sigma, calls) for calls in CALLS] for sigma in SWITCHES}
        for name, sampler in TELEPORTED.items()
    }


def correlation(record: Mapping, known: str, measured: str, k: int) -> float:
    """Spearman's, over all samplers and grids of a budget."""
    return paths.rank_correlation(*(np.array(record[name], float)[:, :, k].ravel() for name in (known, measured)))


def summary(record: Mapping) -> str:
    """One line for each budget: correlations, the best for the network, and what the two guides would have chosen."""
    network = np.array(record["network"], float)
    names = [f"{s}, {g}" for s in record["samplers"] for g in record["grids"]]
    guides = "rank correlation: Gaussian W2", "data set", "Frechet", "best on the network", "Gaussian's", "data set's"
    lines = [f"| calls | {' | '.join(guides)} |", "|---:|---:|---:|---:|---|---|---|"]
    for k, calls in enumerate(record["calls"]):
        cells = [f"{correlation(record, name, 'network', k):.2f}" for name in ("Gaussian", "data set", "Frechet")]
        for guide in ("network", "Gaussian", "data set"):
            best = int(np.nanargmin(np.array(record[guide], float)[:, :, k]))
            cells.append(f"{names[best]}: {network[:, :, k].ravel()[best]:.3f}")
        lines.append(f"| {calls} | {' | '.join(cells)} |")
    return "\n".join(lines)


def savings(record: Mapping) -> str:
    """How many calls less reach the distance that a sampler alone reaches, by linear interpolation in the logarithm."""
    lines = ["| sampler | " + " | ".join(f"{calls} calls" for calls in record["calls"]) + " |"]
    lines.append("|---|" + "---:|" * len(record["calls"]))
    for name, rows in record["teleport"].items():
        alone, best = (np.minimum.accumulate(np.min(found, axis=0)) for found in ([rows["80.0"]], list(rows.values())))
        needed = np.interp(-np.log(alone), -np.log(best), record["calls"])
        cells = [
            f"{distance:.3f}, {calls - use:+.1f}"
            for distance, calls, use in zip(alone, record["calls"], needed, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(record: Mapping) -> Figure:
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    axes = figure.subplots(2, len(SHOWN), sharey=True)
    network = np.array(record["network"], float)
    colors = matplotlib.colormaps["tab10"](np.arange(10))
    for row, guide, label in zip(
        axes, ("Gaussian", "data set"), ("exact W2 on the Gaussian", "distance on the data set"), strict=True
    ):
        for axis, calls in zip(row, SHOWN, strict=True):
            k = record["calls"].index(calls)
            for j, grid in enumerate(record["grids"]):
                axis.plot(
                    np.array(record[guide], float)[:, j, k], network[:, j, k], "o", ms=4, color=colors[j], label=grid
                )
            axis.set(
                xscale="log",
                yscale="log",
                xlabel=label,
                title=f"{calls} calls: rank correlation {correlation(record, guide, 'network', k):.2f}",
            )
            axis.xaxis.set_minor_formatter(NullFormatter())
            axis.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("distance on the network")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ranking", description=__doc__)
    parser.add_argument("--run", type=Path, help="folder of a training run; without it the stored record is used")
    parser.add_argument("--starts", type=int, default=256)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    record = measure(options.run, options.starts, options.seed) if options.run else json.loads(RECORD.read_text())
    if options.run:
        RECORD.write_text(json.dumps(record) + "\n")
    draw(record).savefig(DOCS / "ranking.png", dpi=110)
    print(summary(record), savings(record), sep="\n\n")


if __name__ == "__main__":
    main()
