"""Points spread over eight simulated devices give the answers of one."""

import os
import subprocess
import sys

import pytest

CODE = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import gaussdiff as gd
assert len(jax.devices()) == 8
rng = np.random.default_rng(0)
points, weights = rng.normal(size=(203, 2, 3)), np.log(rng.dirichlet(np.ones(203)))
ask = jax.jit(jax.vmap(lambda model, x, level: model.posterior(x, level, 3), in_axes=(None, 0, None)))
product = jax.jit(lambda model, x, level: model.covariance_product(x, level, jnp.ones_like(x)))
slope = jax.jit(jax.grad(lambda x, model, level: jnp.sum(model.denoise(x, level) ** 2)))
for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-6)):
    one = gd.Empirical(points.astype(dtype), 0.2, weights.astype(dtype), chunk=10)
    many = gd.Empirical(points.astype(dtype), 0.2, weights.astype(dtype), chunk=10, devices=jax.devices())
    assert len(many.offsets.sharding.device_set) == 8 and len(many.offsets) == 240
    level, x = gd.NoiseLevel(dtype(0.8), dtype(0.6)), jnp.asarray(rng.normal(size=(5, 2, 3)), dtype)
    answers = [(ask(m, x, level), product(m, x[0], level), slope(x[0], m, level)) for m in (one, many)]
    for a, b in zip(*map(jax.tree.leaves, answers), strict=True):
        scale = max(1.0, float(jnp.abs(a).max()))
        np.testing.assert_allclose(np.asarray(b), np.asarray(a), 20 * tolerance, tolerance * scale)
    assert many.sample(jax.random.key(0)).shape == (2, 3)
print("same")
"""


@pytest.mark.slow
def test_eight_devices_give_the_answers_of_one():
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=os.environ | flags)
    assert done.stdout.strip() == "same", done.stderr[-3000:]
