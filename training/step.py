"""One training step as a pure function of arrays.

    loss = mean over the batch of  weight(sigma) |D(x0 + sigma noise, sigma) - x0|^2 / D,   log sigma ~ N(mean, std^2)
    ema <- ema + (1 - d) (params - ema),   d = min(decay, (1 + n) / (10 + n))

with the weight and the preconditioning of EDM (Karras et al., arXiv 2206.00364). What step n computes depends on the
state, the data and (seed, n) alone: images, levels and noise come from fold_in(key(seed), n), so a restored run goes on
with the batches it would have seen.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray

import gaussdiff as gd

from .config import Config
from .network import FlaxNetwork, LearnedDenoiser, Params, initial_params, skeleton


class TrainState(NamedTuple):
    """What a run carries from step to step: nested dictionaries and tuples of arrays, nothing else."""

    params: Params
    opt_state: optax.OptState
    ema: Params
    step: Int[Array, ""]


class Examples(NamedTuple):
    """A data set in device memory: samples (N, *shape) float32 and labels (N,) int32, or None."""

    x: Float[Array, "n *event"]
    labels: Int[Array, " n"] | None


class Trainer(NamedTuple):
    """The static part of a run: settings, graph definition and shapes, from which its functions are made."""

    config: Config
    graphdef: nnx.GraphDef
    shape: tuple[int, ...]
    classes: int | None

    @classmethod
    def create(cls, config: Config, shape: tuple[int, ...], classes: int | None) -> "Trainer":
        """Return the trainer of `config` on samples of `shape`; ValueError where the network does not fit them."""
        return cls(config, skeleton(config, shape, classes)[0], shape, classes)

    def model(self, params: Params, label: Array | None = None, precision: str | None = "highest") -> LearnedDenoiser:
        """Return weights as a denoiser, of one class where a label is given, otherwise averaging over all."""
        classes = self.classes if self.config.labels else None
        if classes is not None:
            label = jnp.asarray(classes if label is None else label, jnp.int32)
        network = FlaxNetwork(self.graphdef, params, label)
        return LearnedDenoiser(network, self.config.sigma_data, self.shape, classes, precision)

    def initial(self) -> TrainState:
        """Return the state at step 0, where the averaged weights equal the weights."""
        key = jax.random.key(self.config.seed)
        # This program runs once: optimizing its many random draws took seconds and saves milliseconds.
        options: dict[str, Any] = {"xla_backend_optimization_level": 0}
        return jax.jit(self.traced_initial).lower(key).compile(compiler_options=options)(key)

    def abstract(self) -> TrainState:
        """Return the shapes and dtypes of a state."""
        return jax.eval_shape(self.traced_initial, jax.random.key(0))

    def traced_initial(self, key: PRNGKeyArray) -> TrainState:
        """Return the state at step 0 for weights drawn with `key`."""
        params = initial_params(self.config, self.shape, self.classes, key)
        # A copy: the step gives its state's memory away, and one buffer cannot be given twice.
        ema = jax.tree.map(jnp.copy, params)
        return TrainState(params, optimizer(self.config).init(params), ema, jnp.zeros((), jnp.int32))

    def compiled_step(self, state: TrainState, examples: Examples) -> Callable:
        """Return step(state, examples) -> (state, loss) for such arguments; it consumes the state it is given."""
        return jax.jit(partial(train_step, self), donate_argnums=0).lower(state, examples).compile()


def learning_rate(config: Config, count: ArrayLike) -> Array:
    """Rise over `warmup` steps, stay for `hold`, then fall as 1/sqrt(step): the last step need not be known."""
    step = jnp.asarray(count, jnp.float32) + 1
    full = max(1, config.warmup + config.hold)
    return config.learning_rate * jnp.minimum(step / max(1, config.warmup), jnp.sqrt(full / jnp.maximum(step, full)))


def optimizer(config: Config) -> optax.GradientTransformation:
    """Return Adam with decoupled weight decay on gradients whose global norm is clipped."""
    adam = optax.adamw(partial(learning_rate, config), b2=0.99, weight_decay=config.weight_decay)
    return optax.chain(optax.clip_by_global_norm(config.clip), adam)


def train_step(trainer: Trainer, state: TrainState, examples: Examples) -> tuple[TrainState, Float[Array, ""]]:
    """Return the state after one step, and the loss of its batch before it."""
    key = jax.random.fold_in(jax.random.key(trainer.config.seed), state.step + 1)
    loss, grads = jax.value_and_grad(batch_loss, argnums=1)(trainer, state.params, examples, key)
    updates, opt_state = optimizer(trainer.config).update(grads, state.opt_state, state.params)
    params: Params = optax.apply_updates(state.params, updates)
    ema = average(state.ema, params, state.step, trainer.config.ema_decay)
    return TrainState(params, opt_state, ema, state.step + 1), loss


def average(ema: Params, params: Params, step: Int[Array, ""], decay: float) -> Params:
    """Return the running average after `step` earlier updates; early on it forgets faster, so it starts unbiased."""
    n = step.astype(jnp.float32)
    rate = 1 - jnp.minimum(decay, (1 + n) / (10 + n))
    return jax.tree.map(lambda old, new: old + rate * (new - old), ema, params)


def batch_loss(trainer: Trainer, params: Params, examples: Examples, key: PRNGKeyArray) -> Float[Array, ""]:
    """Return the mean EDM loss of a batch drawn with `key` from `examples`, with replacement."""
    config = trainer.config
    keys = jax.random.split(key, config.batch)
    return jax.vmap(lambda key: _example_loss(trainer, params, examples, key))(keys).mean()


def _example_loss(trainer: Trainer, params: Params, examples: Examples, key: PRNGKeyArray) -> Float[Array, ""]:
    config = trainer.config
    k_index, k_hide, k_level, k_noise = jax.random.split(key, 4)
    index = jax.random.randint(k_index, (), 0, len(examples.x))
    model = trainer.model(params, _shown(trainer, examples.labels, index, k_hide), precision=None)
    level = gd.losses.edm_level(k_level, config.level_mean, config.level_std)
    weight = partial(gd.losses.edm_weight, sigma_data=config.sigma_data)
    return gd.losses.denoising_loss(model, examples.x[index], level, k_noise, weight)


def _shown(trainer: Trainer, labels: Array | None, index: Array, key: PRNGKeyArray) -> Int[Array, ""] | None:
    """The label of one example, or now and then "no label" (None where the network takes none)."""
    if labels is None or trainer.classes is None or not trainer.config.labels:
        return None
    return jnp.where(jax.random.bernoulli(key, trainer.config.label_dropout), trainer.classes, labels[index])
