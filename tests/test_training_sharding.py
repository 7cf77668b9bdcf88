"""Eight simulated devices, and two processes, give the answers of one: data sets, samples, training."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from training.storage import checkpoint

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
mesh = jax.sharding.Mesh(np.array(jax.devices()), "all")
sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("all"))
draw = lambda **how: gd.sample_batch(
    gd.Ancestral(), one, gd.grids.karras(4), shape=(2, 3), count=13, key=jax.random.key(1), **how
)
np.testing.assert_allclose(draw(sharding=sharding), draw(chunk=5), 1e-5, 1e-5)
print("same")
"""


@pytest.mark.slow
def test_eight_devices_give_the_answers_of_one():
    done = run([sys.executable, "-c", CODE], 8)
    printed, errors = done.communicate()
    assert printed.strip() == "same", errors[-3000:]


STEP = """
import sys, jax, jax.numpy as jnp, numpy as np
import gaussdiff as gd
from training import Config, devices
from training.evaluation import errors, likelihoods
from training.storage import checkpoint
from training.data.batches import Examples
from training.step import Trainer
tiny = {"channels": 16, "channel_mult": (1,), "attention": (8,), "blocks": 1, "batch": 16, "accumulate": 1}
config = Config(**tiny, labels=True, sharding="full", warmup=1)
trainer = Trainer.create(config, (8, 8, 1), 10)
x = jax.random.normal(jax.random.key(0), (20, 8, 8, 1)) / 2
examples = Examples(x, np.arange(20, dtype=np.int32) % 10)
examples, indices = devices.place((examples, np.arange(16)), devices.everywhere())
state = trainer.initial()
share = [leaf.addressable_shards[0].data.size / leaf.size for leaf in jax.tree.leaves(state) if leaf.size >= 1024]
assert len(share) > 10 and set(share) == {1 / jax.device_count()}, share
state, loss = trainer.compiled_step(state, examples, indices)(state, examples, indices)
arrays = checkpoint.flatten(devices.fetch(state))
model = gd.Gaussian.isotropic(jnp.zeros((8, 8, 1)), 0.5)
arrays["errors"] = errors.errors(model, x, jnp.array([0.1, 1.0]), jax.random.key(1))
levels = gd.grids.uniform_log_snr(4, 0.05, 80.0, final_zero=False)
arrays["chain"] = likelihoods.chain_bounds(model, x, jax.random.split(jax.random.key(2), 20), levels)
arrays["loss"] = loss
np.savez(sys.argv[1], **arrays)
"""


@pytest.mark.slow
def test_a_step_with_weights_in_pieces_and_an_evaluation_are_those_of_one_device(tmp_path):
    """Of a U-Net with attention and labels: eight devices hold an eighth of every large array."""
    for count in (1, 8):
        finish(run([sys.executable, "-c", STEP, str(tmp_path / f"{count}.npz")], count))
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "8.npz") as eight:
        assert len(one.files) > 100
        for name in one.files:
            # Adam's first step is the sign of the gradient: where that is 0 but for rounding it may be either.
            moved = name.startswith((".params", ".ema"))
            np.testing.assert_allclose(eight[name], one[name], 1e-3, 5e-3 if moved else 1e-6, err_msg=name)
            assert not moved or np.mean(np.abs(eight[name] - one[name]) > 1e-5) < 0.02


@pytest.mark.slow
def test_training_does_not_depend_on_the_number_of_devices_and_processes(tmp_path):
    """One device; eight, then one; eight with weights in pieces; two processes of four devices each, in three ways.

    The two write their state together, in pieces, when one of them is told to stop; they read it again, and one process
    reads it. Where all hold the weights the first one writes, and each reads its own part of the batches.
    """
    finish(train(tmp_path / "moved", 8, "--steps", "3"), train(tmp_path / "one", 1), train(tmp_path / "full", 8, *FULL))
    two = pair(tmp_path / "two")
    while not (tmp_path / "two" / "index.html").exists():  # from here on both listen, and compile for seconds
        assert two[0].poll() is None, two[0].communicate()
        time.sleep(0.02)
    two[1].send_signal(signal.SIGTERM)
    finish(train(tmp_path / "moved", 1))
    assert [process.communicate(timeout=900)[1].count("stopped at step 3, saved in") for process in two] == [1, 1]
    assert [process.returncode for process in two] == [130, 130]
    finish(*pair(tmp_path / "two"))
    finish(*pair(tmp_path / "apart", "--sharding", "replicated", "--data-on", "host"))
    assert [path.name for path in sorted((tmp_path / "two" / "checkpoints").glob("*/state"))] == ["state"] * 2
    states = {path.name: checkpoint.latest(path) for path in tmp_path.iterdir()}
    assert {name: state.step for name, state in states.items() if state} == dict.fromkeys(states, 6)
    for name, state in states.items():
        assert len(states) == 5
        for place, array in state.arrays.items():
            np.testing.assert_allclose(array, states["one"].arrays[place], 2e-3, 2e-6, err_msg=f"{name} {place}")
    logs = {name: (tmp_path / name / "train.jsonl").read_text().splitlines() for name in states}
    assert {len(lines) for lines in logs.values()} == {2}
    for lines in logs.values():
        for line, expected in zip(map(json.loads, lines), map(json.loads, logs["one"]), strict=True):
            assert line["loss"] == pytest.approx(expected["loss"], 1e-4)
            assert line["held_out_loss"] == pytest.approx(expected["held_out_loss"], 1e-4)
    assert len(list((tmp_path / "two" / "samples").iterdir())) == 2
    assert "finished" in (tmp_path / "two" / "index.html").read_text()


@pytest.mark.slow
def test_a_batch_that_cannot_be_shared_out_is_named():
    done = run([sys.executable, "-m", "training", "train", "--out", "unused", "--batch", "100", "--accumulate", "5"], 8)
    errors = done.communicate()[1]
    assert done.returncode == 2
    assert "batch: expected a multiple of the 8 devices for each of the 5 microbatches, got 20 images" in errors


FULL = ("--sharding", "full")


def pair(out, *changes):
    """Two processes that train one run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free.getsockname()[1]}", "JAX_NUM_PROCESSES": "2"}
    watched = ("--explain", "--sample-every", "3", "--distributed", *changes)
    return [train(out, 4, *FULL, *watched, JAX_PROCESS_ID=str(i), **address) for i in range(2)]


def train(out, devices, *changes, **environment):
    command = "train --data toy-ring --channels 32 --blocks 2 --batch 48 --accumulate 2 --stratified --steps 6"
    fixed = [*command.split(), "--log-every", "3", "--evaluate-every", "3", "--no-keep-powers", "--out", str(out)]
    return run([sys.executable, "-m", "training", *fixed, *changes], devices, **environment)


def run(command, devices, **environment):
    simulated = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    flags = {"XLA_FLAGS": simulated, "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | flags | environment, **pipes)


def finish(*processes):
    for process in processes:
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors[-3000:]
