"""The whole training step beside the bare 3x3 convolutions of its network, at their rate for as many operations.

A step takes forward and backward passes, three times the operations of the products in the network's forward one; the
norms, activations, resampling, concatenation, the noise, the optimizer and the averages count as none. What it stands
beside are XLA's own 3x3 convolutions, forward and backward, at the same sizes.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr

from benchmarks.timing import Row, row, take_turns
from training.config import Config
from training.data.batches import Examples
from training.networks.build import skeleton
from training.networks.condition import Condition
from training.presets import preset
from training.step import Trainer

# The second is of the size at which the PyTorch peer (benchmarks/torch_peer.py) was first measured.
SIZES = {
    "digits": (preset("digits"), (8, 8, 1)),
    "32x32": (Config(data="folder", channel_mult=(1, 2, 2), blocks=2, attention=(), batch=32), (32, 32, 3)),
}
TURNS = 9


class Product(NamedTuple):
    """A convolution or matrix product: operations (additions and multiplications), and the shapes of its operands."""

    operations: int
    left: tuple[int, ...]
    right: tuple[int, ...]


def products(config: Config, shape: tuple[int, ...], batch: int) -> list[Product]:
    """Return every product of the network's forward pass on a batch."""
    graphdef, params = skeleton(dataclasses.replace(config, labels=False), shape, None)
    image = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    small = image if config.super_resolution > 1 else None

    def forward(params, x, c_noise, small):
        network: Any = nnx.merge(graphdef, params)
        return jax.vmap(lambda x, c, s: network(x, c, Condition(image=s), None))(x, c_noise, small)

    c_noise = jax.ShapeDtypeStruct((batch,), jnp.float32)
    return list(_products(jax.make_jaxpr(forward)(params, image, c_noise, small).jaxpr))


def _products(jaxpr: Jaxpr) -> Iterator[Product]:
    for equation in jaxpr.eqns:
        if equation.primitive.name in ("conv_general_dilated", "dot_general"):
            left, right, made = map(_shape, (*equation.invars, *equation.outvars))
            yield Product(2 * math.prod(made) * _summed(equation, left, right), left, right)
        for inner in jax.tree.leaves(
            list(equation.params.values()), is_leaf=lambda p: isinstance(p, ClosedJaxpr | Jaxpr)
        ):
            if isinstance(inner, ClosedJaxpr | Jaxpr):
                yield from _products(inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner)


def _shape(variable: Any) -> tuple[int, ...]:
    return variable.aval.shape


def _summed(equation: Any, left: tuple[int, ...], right: tuple[int, ...]) -> int:
    """How many terms each number of the result is a sum of."""
    numbers = equation.params["dimension_numbers"]
    if equation.primitive.name == "dot_general":
        return math.prod(left[axis] for axis in numbers[0][0])
    return math.prod(right) // right[numbers.rhs_spec[0]]


def bare(found: list[Product]) -> tuple[int, Callable[[], object]]:
    """Return the operations of the 3x3 convolutions among `found`, and a call that runs them forward and backward."""
    sizes = [p for p in found if len(p.right) == 4 and p.right[:2] == (3, 3)]
    draw = partial(jax.random.normal, jax.random.key(0), dtype=jnp.float32)
    xs, ws = [draw(p.left) for p in sizes], [draw(p.right) / 30 for p in sizes]
    ys = [draw((*p.left[:-1], p.right[-1])) for p in sizes]

    @jax.jit
    def there_and_back(xs, ws, ys):
        out, back = jax.vjp(lambda xs, ws: list(map(_conv, xs, ws)), xs, ws)
        return out, back(ys)

    return sum(p.operations for p in sizes), partial(there_and_back, xs, ws, ys)


def _conv(x, w):
    return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def step_of(config: Config, shape: tuple[int, ...]) -> Callable[[], object]:
    """Return a call that does one more training step on random images."""
    trainer = Trainer.create(config, shape, None)
    examples = Examples(jax.random.normal(jax.random.key(0), (4 * config.batch, *shape), jnp.float32), None)
    state, indices = trainer.initial(), jnp.arange(config.batch)
    step = trainer.compiled_step(state, examples, indices)

    def advance():
        nonlocal state
        state, loss = step(state, examples, indices)
        return state, loss

    return advance


def run() -> list[Row]:
    rows = []
    for name, (config, shape) in SIZES.items():
        found = products(config, shape, config.batch)
        total = sum(p.operations for p in found)
        of_bare, convolutions = bare(found)
        ours = f"training step, {name}, batch {config.batch}, {3 * total / 1e9:.1f} GFLOP"
        peer = "its 3x3 convolutions alone, forward and backward, at their rate for as many operations"
        times = take_turns({ours: step_of(config, shape), peer: convolutions}, TURNS)
        times[peer] *= total / of_bare
        rows.append(row(times, ours, peer, "at most 1.18"))
    return rows
