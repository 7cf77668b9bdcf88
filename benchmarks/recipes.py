"""How near solvers of few calls come to a trained network's true flow: published recipes, and those made for it.

    python -m benchmarks.recipes --run RUN --out recipes.json

trains nothing. The measure is the root mean square distance, per entry, of a sampler's ends from those of 128 steps of
DPM-Solver++(3M) from the same noise, over starts that no recipe was made on. "data" recipes are found on the training
samples alone, as a data set smoothed by the bandwidth of the highest held-out likelihood or as a mixture, and know
nothing of the network; "refined" ones go on from the data set's on the network's own paths.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp

import gaussdiff as gd
import training
from training.data import dataset

Solve = tuple[gd.Sampler, gd.NoiseLevel]
SOLVERS = {"2M": gd.DPMSolverPP2M(), "iPNDM-4": gd.IPNDM(4), "UniPC-3": gd.UniPC(3), "DEIS-3": gd.DEIS(3)}
GAMMAS = 1.0, 1.15


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipes", description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--calls", type=int, nargs="+", default=[5, 8, 10])
    parser.add_argument("--refine", type=int, default=100, help="steps of descent on the network, 0 for none")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rows = compare(options.run, options.calls, options.refine, jax.random.key(options.seed), options.out)
    print(table(rows, options.calls))


def compare(run: Path, calls: list[int], refine: int, key: jax.Array, out: Path) -> dict[str, dict[int, dict]]:
    """recipe -> calls -> distance, seconds that it took to make, and levels; written to `out` on the way."""
    model, keys = training.load(run), jax.random.split(key, 3)
    laws = surrogates(run, keys[2])
    test = gd.EndError.of(model, keys[0], 512, shape=model.shape)
    rows: dict[str, dict[int, dict]] = {}

    def judge(name: str, n: int, make: Callable[[], Solve]) -> Solve:
        started = time.perf_counter()
        sampler, levels = make()
        seconds = time.perf_counter() - started
        found = {"rms": float(measure(test, sampler, levels, model)), "seconds": round(seconds, 1)}
        rows.setdefault(name, {})[n] = found | {"sigma": [round(float(s), 5) for s in levels.sigma]}
        print(f"{n} calls, {name}: {found['rms']:.4f} after {seconds:.0f} s", flush=True)
        out.write_text(json.dumps(rows, indent=1) + "\n")
        return sampler, levels

    starts = {}
    for n in calls:
        for name, make in published(model, n, keys[1]).items():
            judge(name, n, make)
        judge("2M, grid from the data set", n, lambda n=n: on_grid(laws["data set"], n, keys[1]))
        for name, law in laws.items():
            own = judge(f"sampler from the {name}", n, lambda n=n, law=law: gd.optimal_sampler(law, n, key=keys[1]))
            starts.setdefault(n, own)
    for n, start in starts.items() if refine else ():
        judge(
            "the data set's, refined on the network",
            n,
            lambda n=n, start=start: gd.optimal_sampler(
                model,
                n,
                key=keys[1],
                shape=model.shape,
                paths=192,
                batch=32,
                order=2,
                steps=refine,
                rate=0.015,
                start=start,
            ),
        )
    return rows


def on_grid(law: gd.Distribution, n: int, key: jax.Array) -> Solve:
    return gd.DPMSolverPP2M(), gd.optimal_grid(law, gd.DPMSolverPP2M(), n, key=key, tries=1, steps=150)


@jax.jit
def measure(test: gd.EndError, sampler: gd.Sampler, levels: gd.NoiseLevel, model: gd.Denoiser) -> jax.Array:
    return test(sampler, levels, model)


def surrogates(run: Path, key: jax.Array) -> dict[str, gd.Distribution]:
    """The training samples as laws, chosen by the likelihood of what was held out of training."""
    config = training.load_config(run)
    found = dataset.load_for(config)
    train, held_out = jnp.asarray(found.train), jnp.asarray(found.held_out)
    bandwidth = gd.fitting.choose_bandwidth(train, held_out)
    likelihood = jax.jit(lambda law: jnp.mean(jax.vmap(law.log_prob)(held_out)))
    mixtures = [gd.GaussianMixture.from_samples(train, count, rank=20, key=key) for count in (5, 10, 20)]
    print(f"bandwidth {float(bandwidth):.3f}; mixtures, nats: {[round(float(likelihood(law))) for law in mixtures]}")
    return {"data set": gd.Empirical(train, bandwidth), "mixture": max(mixtures, key=likelihood)}


def published(model: training.LearnedDenoiser, n: int, key: jax.Array) -> dict[str, Callable[[], Solve]]:
    """Recipes of the literature; GITS is made from the network itself."""
    grids = {"rho 7": gd.grids.karras(n), "uniform log-SNR": gd.grids.uniform_log_snr(n)}
    made: dict[str, Callable[[], Solve]] = {}
    for grid, levels in grids.items():
        for name, sampler in SOLVERS.items():
            made[f"{name}, {grid}"] = lambda sampler=sampler, levels=levels: (sampler, levels)
    for gamma in GAMMAS:
        made[f"iPNDM-4, GITS gamma {gamma:g}"] = lambda gamma=gamma: (
            gd.IPNDM(4),
            gd.gits_grid(model, n, key, gamma=gamma, shape=model.shape),
        )
    return made


def table(rows: dict[str, dict[int, dict]], calls: list[int]) -> str:
    lines = [
        "| recipe | " + " | ".join(f"{n} calls" for n in calls) + " |",
        "|---|" + "---:|" * len(calls),
    ]
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[n]['rms']:.4f}" for n in calls) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
