"""What sample() adds to the model calls that it makes, and to the time it takes to compile them."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import gaussdiff as gd
from benchmarks.timing import Row, row, take_turns

BATCH, WIDTH, STEPS = 64, 3072, 20


class Linear(gd.Denoiser):
    """A model as plain as can be: one matrix product."""

    weight: Float[Array, "D D"]

    def denoise(self, x: Float[Array, " D"], level: gd.NoiseLevel) -> Float[Array, " D"]:
        return self.weight @ x


@jax.jit
def calls(model, x, level):
    """The bare calls of each sample, each on the result of the one before."""

    def chain(x):
        return jax.lax.scan(lambda x, _: (model.denoise(x, level), None), x, length=STEPS)[0]

    return jax.vmap(chain)(x)


def one_call(model, x, level):
    return jax.vmap(lambda x: model.denoise(x, level))(x)


def euler(model, x, levels):
    return jax.vmap(gd.sample, in_axes=(None, None, 0, None))(gd.Euler(), model, x, levels)


def compile_seconds(function, *arguments) -> float:
    """Tracing and compiling, with nothing remembered."""
    jax.clear_caches()
    started = time.perf_counter()
    jax.jit(function).lower(*arguments).compile()
    return time.perf_counter() - started


def run() -> list[Row]:
    model = Linear(jax.random.normal(jax.random.key(0), (WIDTH, WIDTH)) / WIDTH)
    x, levels = jax.random.normal(jax.random.key(1), (BATCH, WIDTH)), gd.grids.karras(STEPS)
    name, peer = f"sample, {STEPS} Euler steps, batch {BATCH}, width {WIDTH}", f"{STEPS} model calls alone"
    jitted = jax.jit(euler)
    rows = []
    times = take_turns(
        {
            name: lambda: jitted(model, x, levels),
            f"{name}, called without jit": lambda: euler(model, x, levels),
            peer: lambda: calls(model, x, levels[0]),
        },
        turns=15,
    )
    rows += [row(times, label, peer, "at most 1.05") for label in (name, f"{name}, called without jit")]

    model, x = Linear(jnp.eye(64)), jnp.ones((BATCH, 64))
    built, own = "compile sample, 20 Euler steps", "compile one model call"
    pairs = [
        (compile_seconds(euler, model, x, levels), compile_seconds(one_call, model, x, levels[0])) for _ in range(5)
    ]
    times = {built: np.array(pairs)[:, 0], own: np.array(pairs)[:, 1]}
    return [*rows, row(times, built, own, "1 s more at most")]
