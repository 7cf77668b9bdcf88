"""Models that share all with the studied ones but what a claim is about: an artefact shows in them too."""

from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

import gaussdiff as gd
from training.config import Config
from training.networks.build import initial_params
from training.networks.denoiser import LearnedDenoiser
from training.networks.params import once

Model = TypeVar("Model", bound=gd.Denoiser)

FILTERS = ("edm", "v", "flow")  # objectives by which an output of 0 is a filter of x; by others it is x itself, or 0


USUAL = ("untrained", "shuffled_weights", "shuffled_spectrum")  # what `usual` gives, the first where it is one


def usual(network: LearnedDenoiser, config: Config, gaussian: gd.Gaussian, seed: int) -> dict[str, gd.Denoiser]:
    """The controls of a trained network by name, without the untrained one where its paths go nowhere (see FILTERS)."""
    key = jax.random.key(seed + 2)  # not that of the starts
    begun = {"untrained": untrained(network, config, key)} if config.objective in FILTERS else {}
    return {
        **begun,
        "shuffled_weights": shuffled(network, key),
        "shuffled_spectrum": shuffled_spectrum(gaussian, seed),
    }


def untrained(network: LearnedDenoiser, config: Config, key: PRNGKeyArray) -> LearnedDenoiser:
    """The network as it was before its first step, with other random weights; its last layer is 0, as in training."""
    params = once(lambda key: initial_params(config, network.shape, network.classes, key))(key)
    return eqx.tree_at(lambda model: model.network.params, network, params)


def shuffled(model: Model, key: PRNGKeyArray) -> Model:
    """The model with the entries of each of its arrays permuted: the same sizes of weights, nothing learned."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))  # on the device each shape would be compiled

    def permuted(leaf):
        if not eqx.is_inexact_array(leaf):
            return leaf
        entries = np.array(leaf).reshape(-1)
        return jnp.asarray(entries[rng.permutation(entries.size)].reshape(leaf.shape))

    return jax.tree.map(permuted, model)


def shuffled_spectrum(gaussian: gd.Gaussian, seed: int) -> gd.Gaussian:
    """The Gaussian whose variances belong to other directions than in the data: as many, as large, in another order."""
    order = np.random.default_rng(seed).permutation(gaussian.rank)
    return eqx.tree_at(lambda g: g.eigvals, gaussian, gaussian.eigvals[order])
