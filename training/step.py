"""One training step as a pure function of arrays.

    loss = mean over the batch of  weight(level) |D(x0 noised to level) - x0|^2 / D          training/objective/loss.py
    ema <- ema + (1 - d) (params - ema),   d = min(2^(-batch / half_life), (1 + n) / (10 + n))

What step n computes depends on the state, the data and (seed, n) alone: which images is training/data/batches.py, and
their levels and noise come from fold_in(key(seed), n), so a restored run goes on with the batches it would have seen.

It is three programs: a total of zero; the gradient of one microbatch added to it, called once for each
(training/microbatch.py); and the weights moved by the total. A loop over microbatches inside a program made a step 20
times slower on a CPU, where XLA is slow at the weight gradients of a loop's convolutions; unrolled, it compiles long.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax import Array
from jax.sharding import NamedSharding
from jax.typing import ArrayLike
from jaxtyping import Float, Int, PRNGKeyArray

from training import devices, microbatch
from training.config import Config
from training.data.batches import Examples
from training.networks.build import initial_params, skeleton
from training.networks.condition import Condition, large, small
from training.networks.denoiser import FlaxNetwork, LearnedDenoiser
from training.networks.params import Params, once
from training.objective import levels, loss
from training.optimizer import average, decay_of, optimizer

Total = tuple[Float[Array, ""], dict[str, Params]]  # the weighted error and the gradient, summed over microbatches


class TrainState(NamedTuple):
    """What a run carries from step to step: nested dictionaries and tuples of arrays, nothing else.

    params: {"network": weights}, and "uncertainty" where it is learned. ema: the averaged weights of the network, one
    for each half-life.
    """

    params: dict[str, Params]
    opt_state: optax.OptState
    ema: tuple[Params, ...]
    step: Int[Array, ""]


class Trainer(NamedTuple):
    """The static part of a run: settings, graph definition and shapes, from which its functions are made."""

    config: Config
    graphdef: nnx.GraphDef
    shape: tuple[int, ...]
    classes: int | None

    @classmethod
    def create(cls, config: Config, shape: tuple[int, ...], classes: int | None) -> "Trainer":
        """The trainer of `config` on samples of `shape`; ValueError where the two do not fit."""
        _check(config, shape)
        return cls(config, skeleton(config, shape, classes)[0], shape, classes)

    def model(
        self,
        params: Params,
        condition: Condition | None = None,
        key: PRNGKeyArray | None = None,
        precision: str | None = "highest",
    ) -> LearnedDenoiser:
        """The network's weights as a denoiser, of one condition where given, otherwise averaging over all."""
        config, classes = self.config, self.known_classes
        network = FlaxNetwork(self.graphdef, params, condition or self.unconditional(), key)
        return LearnedDenoiser(
            network, config.data_scale, self.shape, classes, config.objective, config.super_resolution, precision
        )

    @property
    def known_classes(self) -> int | None:
        """The number of labels that the network is conditioned on; None where it was made without."""
        return self.classes if self.config.labels else None

    def unconditional(self) -> Condition:
        """The condition of the unconditional network: label and image hidden; None for what it does not take."""
        label = None if self.known_classes is None else jnp.asarray(self.known_classes, jnp.int32)
        return Condition(label, jnp.zeros(self.shape, jnp.float32) if self.config.super_resolution > 1 else None)

    def condition(self, x0: Array, label: Array | None) -> Condition:
        """The condition that one example gives: its label and small image; None for what the network does not take."""
        factor = self.config.super_resolution
        image = large(small(x0, factor), factor) if factor > 1 else None
        return Condition(None if self.known_classes is None else label, image)

    def initial(self) -> TrainState:
        """The state at step 0, where the averaged weights equal the weights."""

        def draw(key: PRNGKeyArray) -> TrainState:
            return self._fresh(initial_params(self.config, self.shape, self.classes, key))

        # Every device computes its own shards: weights that are cut need not fit into one.
        return once(draw, out_shardings=self.placement())(jax.random.key(self.config.seed))

    def placement(self) -> TrainState:
        """Where each array of a state lives."""
        return devices.of_state(self._shapes(), self.config.sharding)

    def abstract(self) -> TrainState:
        """The shapes, dtypes and places of a state, from which programs are compiled before there is one."""
        return _placed(self._shapes(), self.placement())

    def _shapes(self) -> TrainState:
        return jax.eval_shape(self._fresh, skeleton(self.config, self.shape, self.classes)[1])

    def _fresh(self, network: Params) -> TrainState:
        """The state at step 0 of a network's weights."""
        params = {"network": network}
        if self.config.uncertainty:
            params["uncertainty"] = loss.initial_uncertainty()
        # Copies: the step gives its state's memory away, and one buffer cannot be given twice.
        ema = tuple(jax.tree.map(jnp.copy, network) for _ in self.config.ema_half_lives)
        return TrainState(params, optimizer(self.config).init(params), ema, jnp.zeros((), jnp.int32))

    @property
    def microbatches(self) -> int:
        """The number of microbatches that a batch is computed in, one after the other."""
        return microbatch.count(self.config, self.shape)

    def compiled_step(self, state: TrainState, examples: Examples, indices: Array | None) -> Callable:
        """step(state, examples, indices) -> (state, loss), which consumes the state that it is given.

        Without indices the examples are the batch. Of `state`, which may be abstract, shapes and places count alone.
        """
        whole, places = devices.everywhere(), jax.tree.map(lambda leaf: leaf.sharding, state)
        sums = whole, places.params
        zero = jax.jit(_zero, out_shardings=sums)
        add = jax.jit(partial(add_microbatch, self), donate_argnums=0, out_shardings=sums)
        update = jax.jit(partial(update_by, self), donate_argnums=0, out_shardings=(places, whole))
        numbers = [devices.place(np.int32(number), whole) for number in range(self.microbatches)]
        total = _placed(jax.eval_shape(_zero, state.params), sums)
        # Tracing is Python, one program at a time; meanwhile those that were traced compile in threads of their own.
        with ThreadPoolExecutor(3, "compile") as threads:
            adding = threads.submit(add.lower(total, state.params, state.step, examples, indices, numbers[0]).compile)
            updating = threads.submit(update.lower(state, total).compile)
            zeroing = threads.submit(zero.lower(state.params).compile)
        add, update, zero = adding.result(), updating.result(), zeroing.result()

        def step(state: TrainState, examples: Examples, indices: Array | None) -> tuple[TrainState, Array]:
            total = zero(state.params)
            for number in numbers:
                total = add(total, state.params, state.step, examples, indices, number)
            return update(state, total)

        return step


def _check(config: Config, shape: tuple[int, ...]) -> None:
    microbatch.count(config, shape)
    levels.check_reach(config)
    levels.warn_of_schedule(config)
    if config.flip and len(shape) != 3:
        raise ValueError(f"flip: expected images (H, W, C), got samples of shape {shape}; drop --flip")
    factor = config.super_resolution
    if factor > 1 and (len(shape) != 3 or shape[0] % factor or shape[1] % factor):
        raise ValueError(
            f"super_resolution: expected images whose sides are divisible by {factor}, got samples of shape {shape}; "
            "change --super-resolution"
        )


def _placed(shapes: Any, places: Any) -> Any:
    def one(leaf: jax.ShapeDtypeStruct, place: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    return jax.tree.map(one, shapes, places)


def _zero(params: dict[str, Params]) -> Total:
    return jnp.zeros((), jnp.float32), jax.tree.map(jnp.zeros_like, params)


def add_microbatch(
    trainer: Trainer,
    total: Total,
    params: dict[str, Params],
    step: Int[Array, ""],
    examples: Examples,
    indices: Int[Array, " batch"] | None,
    number: Int[Array, ""],
) -> Total:
    """The total of a batch, the examples at `indices` or all, with one more microbatch of it after `step` steps."""
    key = jax.random.fold_in(jax.random.key(trainer.config.seed), step + 1)
    return jax.tree.map(jnp.add, total, gradient(trainer, params, examples, indices, key, number))


def update_by(trainer: Trainer, state: TrainState, total: Total) -> tuple[TrainState, Float[Array, ""]]:
    """The state after a step by the total of a whole batch, and its weighted error before the step."""
    error, grads = jax.tree.map(lambda leaf: leaf / trainer.microbatches, total)
    updates, opt_state = optimizer(trainer.config).update(grads, state.opt_state, state.params)
    params: Any = optax.apply_updates(state.params, updates)
    ema = tuple(
        average(old, params["network"], state.step, decay_of(trainer.config, half_life))
        for old, half_life in zip(state.ema, trainer.config.ema_half_lives, strict=True)
    )
    return TrainState(params, opt_state, ema, state.step + 1), error


def gradient(
    trainer: Trainer,
    params: dict[str, Params],
    examples: Examples,
    indices: Int[Array, " batch"] | None,
    key: PRNGKeyArray,
    number: ArrayLike,
) -> Total:
    """The weighted error of microbatch `number` of a batch, the examples at `indices` or all, and its loss's gradient.

    Every image's draws depend on its place in the batch alone, so the mean over microbatches is that of the whole.
    """
    k_level, k_image = jax.random.split(key)
    count = trainer.config.batch
    draws = levels.quantiles(trainer.config, k_level, count), jax.random.split(k_image, count)
    # Images i, i + microbatches, ... go together: where the batch is spread over devices, every microbatch is as well.
    whole = devices.constrain((examples if indices is None else indices, *draws))
    x, u, keys = devices.constrain(
        jax.tree.map(lambda a: a.reshape(-1, trainer.microbatches, *a.shape[1:])[:, number], whole)
    )
    batch = x if indices is None else jax.tree.map(lambda rows: rows[x], examples)
    slope = jax.value_and_grad(partial(mean_loss, trainer), has_aux=True)
    (_, error), grads = slope(params, batch, u, keys)
    return error, grads


def mean_loss(
    trainer: Trainer, params: dict[str, Params], batch: Examples, u: Array, keys: Array
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The means over images of what is minimised and of the weighted error; without uncertainty the two are one.

    With it, s = uncertainty(u), a level's log error, is learned:  minimised = error e^(-s) + s.
    """
    errors = jax.vmap(partial(_error_of, trainer, params["network"]))(batch, u, keys)
    if not trainer.config.uncertainty:
        return errors.mean(), errors.mean()
    s = jax.vmap(partial(loss.uncertainty, params["uncertainty"]))(u)
    return (errors * jnp.exp(-s) + s).mean(), errors.mean()


def _error_of(trainer: Trainer, params: Params, one: Examples, u: Array, key: PRNGKeyArray) -> Float[Array, ""]:
    config = trainer.config
    k_flip, k_hide, k_noise, k_drop = jax.random.split(key, 4)
    x0 = mirrored(k_flip, one.x) if config.flip else one.x
    condition = sometimes_hidden(trainer, k_hide, trainer.condition(x0, one.labels))
    model = trainer.model(params, condition, k_drop if config.dropout else None, precision=None)
    return loss.weighted_error(config, model, x0, u, k_noise)


def mirrored(key: PRNGKeyArray, image: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
    """The image, in half of all draws with left and right exchanged."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def sometimes_hidden(trainer: Trainer, key: PRNGKeyArray, condition: Condition) -> Condition:
    """The condition, in a fraction `condition_dropout` of all draws that of the unconditional model instead."""
    hidden = jax.random.bernoulli(key, trainer.config.condition_dropout)
    return jax.tree.map(partial(jnp.where, hidden), trainer.unconditional(), condition)


def held_out_loss(trainer: Trainer, params: Params, examples: Examples) -> Float[Array, ""]:
    """The mean weighted error of `examples`, with the same noise and levels in every evaluation of a run.

    The levels are the midpoints of 16 equal probabilities of the training levels, taken in turn; where the network
    takes labels or small images, it is conditioned on each example's own.
    """
    count = len(examples.x)

    def error(args: tuple[Examples, Array, Array]) -> Array:
        one, u, key = args
        model = trainer.model(params, trainer.condition(*one), precision=None)
        return loss.weighted_error(trainer.config, model, one.x, u, key)

    u = (jnp.arange(count, dtype=jnp.float32) % 16 + 0.5) / 16
    return devices.map_spread(error, (examples, u, jax.random.split(jax.random.key(0), count))).mean()
