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
@jax.jit
def ask(model, x, level):
    posterior = jax.vmap(lambda x: model.posterior(x, level, 3))(x)
    product = model.covariance_product(x[0], level, jnp.ones_like(x[0]))
    return posterior, product, jax.grad(lambda x: jnp.sum(model.denoise(x, level) ** 2))(x[0])
for dtype, tolerance in ((np.float64, 1e-12), (np.float32, 1e-6)):
    one = gd.Empirical(points.astype(dtype), 0.2, weights.astype(dtype), chunk=10)
    many = gd.Empirical(points.astype(dtype), 0.2, weights.astype(dtype), chunk=10, devices=jax.devices())
    assert len(many.offsets.sharding.device_set) == 8 and len(many.offsets) == 240
    level, x = gd.NoiseLevel(dtype(0.8), dtype(0.6)), jnp.asarray(rng.normal(size=(5, 2, 3)), dtype)
    answers = [ask(m, x, level) for m in (one, many)]
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


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    """The file of STEP from a process with eight devices, and what CODE prints in it."""
    out = tmp_path_factory.mktemp("eight") / "8.npz"
    printed, errors = run([sys.executable, "-c", STEP + CODE, str(out)], 8).communicate(timeout=900)
    return out, printed or errors[-3000:]


@pytest.mark.slow
def test_eight_devices_give_the_answers_of_one(eight):
    assert eight[1] == "same\n"


@pytest.mark.slow
def test_a_step_with_weights_in_pieces_and_an_evaluation_are_those_of_one_device(eight, tmp_path):
    """Of a U-Net with attention and labels: eight devices hold an eighth of every large array."""
    finish(run([sys.executable, "-c", STEP, str(tmp_path / "1.npz")], 1))
    with np.load(tmp_path / "1.npz") as one, np.load(eight[0]) as eight:
        assert len(one.files) > 100
        for name in one.files:
            # Adam's first step is the sign of the gradient: where that is 0 but for rounding it may be either.
            moved = name.startswith((".params", ".ema"))
            np.testing.assert_allclose(eight[name], one[name], 1e-3, 5e-3 if moved else 1e-6, err_msg=name)
            assert not moved or np.mean(np.abs(eight[name] - one[name]) > 1e-5) < 0.02


@pytest.mark.slow
def test_training_does_not_depend_on_the_number_of_devices_and_processes(tmp_path):
    """One device; eight, then one; two processes of four devices each, stopped and continued, and in another way.

    The two hold the weights in pieces, and write their state together when one of them is told to stop; they read it
    again, and one process reads it. Where all hold the weights the first one writes, and each reads its own part of the
    batches.
    """
    np.save(tmp_path / "data.npy", np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32))
    moved, one, two, apart = (words(tmp_path / name) for name in ("moved", "one", "two", "apart"))
    two = [*two, "--sharding", "full", "--explain", "--sample-every", "3"]
    apart = [*apart, "--sharding", "replicated", "--data-on", "host"]
    hosts = pair(two)
    while not (tmp_path / "two" / "index.html").exists():  # from here on both listen, and compile for seconds
        assert hosts[0].poll() is None, hosts[0].communicate()
        time.sleep(0.02)
    hosts[1].send_signal(signal.SIGTERM)
    finish(train(8, [*moved, "--steps", "3"]))
    finish(train(1, one, moved))
    assert [process.communicate(timeout=900)[1].count("stopped at step 3, saved in") for process in hosts] == [1, 1]
    assert [process.returncode for process in hosts] == [130, 130]
    finish(*pair(two, apart))
    assert [path.name for path in sorted((tmp_path / "two" / "checkpoints").glob("*/state"))] == ["state"] * 2
    states = {path.name: checkpoint.latest(path) for path in tmp_path.iterdir() if path.is_dir()}
    assert {name: state.step for name, state in states.items() if state} == dict.fromkeys(states, 6)
    for name, state in states.items():
        assert len(states) == 4
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
    expected = "batch: expected a multiple of the 8 devices for each of the 5 microbatches, got 20 images a microbatch"
    assert expected in errors


SEVERAL = """
import json, sys
from training.commands import main
sys.exit(max(main(command) for command in json.loads(sys.argv[1])))
"""


def words(out):
    """A command that trains on the points of data.npy beside the run."""
    command = "train --channels 32 --blocks 1 --batch 48 --accumulate 2 --stratified --steps 6 --log-every 3"
    fixed = ["--evaluate-every", "3", "--no-keep-powers", "--data", str(out.parent / "data.npy")]
    return [*command.split(), *fixed, "--out", str(out)]


def pair(first, *more):
    """Two processes, which meet at the first command, and go through all of them together."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free.getsockname()[1]}", "JAX_NUM_PROCESSES": "2"}
    lines = [[*first, "--distributed"], *more]
    return [train(4, *lines, JAX_PROCESS_ID=str(i), **address) for i in range(2)]


def train(devices, *lines, **environment):
    """One process that runs the commands one after the other."""
    return run([sys.executable, "-c", SEVERAL, json.dumps(lines)], devices, **environment)


def run(command, devices, **environment):
    simulated = {"JAX_NUM_CPU_DEVICES": str(devices), "JAX_PLATFORMS": "cpu"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env=os.environ | simulated | environment, **pipes)


def finish(*processes):
    for process in processes:
        _, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors[-3000:]
