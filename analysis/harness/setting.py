"""What all experiments share: models, noise, a grid, data, and what is worked out from them once."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import gaussdiff as gd
from analysis.harness import twins
from analysis.measures import endpoints, patches
from analysis.measures.paths import Paths, follow
from analysis.measures.probes import Probes, probe
from training.data.dataset import Dataset
from training.evaluation.features import Features, learn_features

History = Mapping[int, Callable[[], gd.Denoiser]]


@dataclass(frozen=True)
class Setting:
    """Models by name, and the same noise and grid for all of them (alpha = 1).

    models: "network" is what is studied, learned or not; "gaussian", "mixture" and "data_set" are its twins.
    starts: states (B, *event) at levels[0]. controls: denoisers that know nothing of the data's order, by name.
    history: how to open the network as it was after some steps of training. full: whether to spend more samples.
    """

    name: str
    data: Dataset
    models: Mapping[str, gd.Denoiser]
    starts: Float[Array, "batch *event"]
    levels: gd.NoiseLevel
    seed: int = 0
    controls: Mapping[str, gd.Denoiser] = field(default_factory=dict)
    history: History = field(default_factory=dict)
    full: bool = False

    @property
    def network(self) -> gd.Denoiser:
        """The model that is studied."""
        return self.models["network"]

    @property
    def gaussian(self) -> gd.Gaussian:
        """The Gaussian of the training data, whose modes are their principal components."""
        gaussian = self.models["gaussian"]
        assert isinstance(gaussian, gd.Gaussian)
        return gaussian

    @property
    def sigma(self) -> np.ndarray:
        """The noise scales of the grid (n+1,)."""
        return np.asarray(self.levels.sigma)

    @property
    def is_image(self) -> bool:
        """Whether samples are images (H, W, C)."""
        return len(self.data.shape) == 3

    @cached_property
    def paths(self) -> dict[str, Paths]:
        """Every model's paths from the same starts, by Heun's method."""
        return follow(self.models, gd.Heun(), self.starts, self.levels)

    @cached_property
    def control_paths(self) -> dict[str, Paths]:
        """The controls' paths from the same starts, by the same method."""
        return follow(self.controls, gd.Heun(), self.starts, self.levels)

    @cached_property
    def closed_form(self) -> Paths:
        """The Gaussian's exact paths from the same starts, by no solver."""
        path = _exact(self.gaussian, self.starts, self.levels)
        return Paths(self.sigma, np.asarray(path.x), np.asarray(path.denoised))

    @cached_property
    def more(self) -> dict[str, gd.Denoiser]:
        """Further twins of the training data: less than the Gaussian, and more than the mixture."""
        return twins.more(self.data.train, self.seed)

    @cached_property
    def held_out(self) -> Probes:
        """Held-out samples with noise, and what the network makes of them."""
        return probe(self.network, self.data.held_out, self.count(128, 1024), self.key("held out"))

    @cached_property
    def training(self) -> Probes:
        """Training samples with noise, and what the network makes of them."""
        return probe(self.network, self.data.train, self.count(128, 1024), self.key("training"))

    @cached_property
    def local(self) -> patches.Fit | None:
        """The patch-wise denoiser of the training images nearest to the network; None where it is too expensive."""
        return patches.fit(self.data.train, self.held_out.first(self.count(16, 128))) if self.is_image else None

    @cached_property
    def few(self) -> Float[Array, "count *event"]:
        """The starts on which samplers are compared: many short paths cost as much as one long one."""
        return self.starts[: self.count(128, len(self.starts))]

    @cached_property
    def fine_ends(self) -> np.ndarray:
        """Where the network's own flow leads from `few`: what samplers are judged by."""
        return endpoints.fine(self.network, self.few, float(self.levels.sigma[0]))

    @cached_property
    def features(self) -> Features:
        """The features in which sets of samples are compared."""
        return learn_features(self.data, self.seed)

    def key(self, name: str) -> PRNGKeyArray:
        """A random key of this experiment's own."""
        return jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(name.encode()))

    def count(self, usual: int, full: int) -> int:
        """How many samples to take."""
        return full if self.full else usual


@jax.jit
def _exact(gaussian: gd.Gaussian, starts: Array, levels: gd.NoiseLevel) -> gd.Trajectory:
    return jax.vmap(gd.exact.gaussian_path, in_axes=(None, 0, None))(gaussian, starts, levels)
