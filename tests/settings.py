"""Settings of experiments whose network is a Gaussian known exactly, and what the documents say of their numbers."""

import re
from pathlib import Path

import jax
import numpy as np

import gaussdiff as gd
from analysis.harness import controls
from analysis.harness.setting import Setting
from training import Config
from training.data.dataset import Dataset, Rows

# The run of the fixture `trained`: points in the plane, of which few are held out, since samples are compared with
# those, two steps, and a largest noise scale that is not the usual one.
TRAINED = Config(
    data="toy-gaussian", held_out=0.02, channels=8, blocks=1, channel_mult=(1,), attention=(), batch=16, steps=2,
    sigma_max=60.0,
)  # fmt: skip


def documented(name: str) -> set[str]:
    """The keys that docs/experiments.md gives of an experiment's numbers."""
    text = (Path(__file__).parents[1] / "docs" / "experiments.md").read_text()
    (row,) = re.findall(rf"^\| {name} \| (.*) \|$", text, re.MULTILINE)
    return set(re.findall("`([^`]+)`", row))


def exact_gaussian(side: int = 8) -> gd.Gaussian:
    """Of images (side, side, 1), with variances that fall as a power law over three decades, in random directions."""
    rng = np.random.default_rng(0)
    size = side * side
    directions, _ = np.linalg.qr(rng.normal(size=(size, size)))
    variances = 4.0 * np.arange(1, size + 1) ** -1.7
    mean = rng.normal(size=(side, side, 1)) / 4
    return gd.Gaussian.from_moments(mean, (directions * variances) @ directions.T)


def exact_setting(network: gd.Denoiser | None = None, starts: int = 64, steps: int = 60) -> Setting:
    """A setting whose data are drawn from exact_gaussian, which is also its network unless another one is given."""
    gaussian = exact_gaussian()
    samples = np.asarray(jax.vmap(gaussian.sample)(jax.random.split(jax.random.key(1), 600)))
    data = Dataset(Rows(samples[:400]), Rows(samples[400:]))
    levels = gd.grids.karras(steps, 0.005)
    noise = jax.random.normal(jax.random.key(0), (starts, *gaussian.shape))
    return Setting(
        name="exact Gaussian",
        data=data,
        models={
            "network": gaussian if network is None else network,
            "gaussian": gaussian,
            "mixture": gd.GaussianMixture.from_samples(data.train, 3, key=jax.random.key(2)),
            "data_set": gd.Empirical(data.train),
        },
        starts=levels.sigma[0] * noise,
        levels=levels,
        controls={"shuffled_spectrum": controls.shuffled_spectrum(gaussian, 0)},
    )
