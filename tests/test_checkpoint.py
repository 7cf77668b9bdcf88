"""Checkpoints: whole or passed over, never half; equal bits back; errors that name what is wrong."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import training
from training import checkpoint
from training.config import Config
from training.runs import settings
from training.step import Trainer

TINY = Config(data="toy-gaussian", channels=8, blocks=1, batch=16)


def some_state(seed=0):
    values = np.random.default_rng(seed).normal(size=6).astype(np.float32)
    return {"a": [jnp.asarray(values[:4].reshape(2, 2)), jnp.int32(seed)], "b": (jnp.asarray(values[4:]),)}


def test_arrays_come_back_bitwise(tmp_path):
    state = some_state()
    checkpoint.save(tmp_path, 3, state, {"x": 1})
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert (found.step, found.settings) == (3, {"x": 1})
    like = jax.eval_shape(lambda: state)
    for saved, restored in zip(
        jax.tree.leaves(state), jax.tree.leaves(checkpoint.restore(like, found.arrays)), strict=True
    ):
        assert saved.dtype == restored.dtype
        assert np.asarray(saved).tobytes() == np.asarray(restored).tobytes()


def test_the_last_two_are_kept_in_order_of_their_steps(tmp_path):
    for step in (5, 90_000_000, 100_000_000):
        checkpoint.save(tmp_path, step, some_state(), {})
    assert len(list((tmp_path / "checkpoints").iterdir())) == 2
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 100_000_000


@pytest.mark.parametrize("name", ["state.npz", "config.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, name, harm):
    checkpoint.save(tmp_path, 1, some_state(1), {"at": 1})
    path = checkpoint.save(tmp_path, 2, some_state(2), {"at": 2}) / name
    data = path.read_bytes()
    if harm == "remove":
        path.unlink()
    else:
        middle = len(data) // 2
        path.write_bytes(data[:middle] if harm == "cut" else data[:middle] + b"\0\0\0\0" + data[middle + 4 :])
    with pytest.warns(UserWarning, match="step-00000002"):
        found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.settings == {"at": 1}


def test_all_damaged_is_an_error(tmp_path):
    (checkpoint.save(tmp_path, 1, some_state(), {}) / "state.npz").write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"), pytest.raises(ValueError, match=r"every checkpoint .* is damaged"):
        checkpoint.latest(tmp_path)


def test_what_a_killed_process_left_is_ignored_and_cleaned(tmp_path):
    checkpoint.save(tmp_path, 1, some_state(), {})
    left = tmp_path / "checkpoints" / ".writing-00000002-123"
    left.mkdir()
    (left / "state.npz").write_bytes(b"half")
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 1
    checkpoint.clean(tmp_path)
    assert not left.exists()


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    checkpoint.save(tmp_path, 1, some_state(), {})
    found = checkpoint.latest(tmp_path)
    assert found is not None
    with pytest.raises(ValueError, match=r"expected float32 of shape \(3,\) at \['b'\]\[0\]"):
        checkpoint.restore({"b": [jax.ShapeDtypeStruct((3,), jnp.float32)]}, found.arrays)


def test_load_opens_a_run_by_relative_path_and_shares_traces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models, traces = [], []
    for seed in (0, 1):
        config = Config(**{**vars(TINY), "seed": seed})
        trainer = Trainer.create(config, (2,), None)
        checkpoint.save(Path(f"run{seed}"), 0, trainer.initial(), settings(trainer))
        models.append(training.load(f"run{seed}"))
        assert training.load_config(f"run{seed}") == config
        assert training.load(tmp_path / f"run{seed}" / "checkpoints" / "step-00000000", "params").shape == (2,)

    @jax.jit
    def weigh(model):
        traces.append(1)
        return sum(jnp.abs(leaf).sum() for leaf in jax.tree.leaves(model.network.params))

    assert weigh(models[0]) != weigh(models[1])
    assert len(traces) == 1


def test_load_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the folder of a run"):
        training.load(tmp_path / "nothing")
    with pytest.raises(ValueError, match="weights: expected one of ema, params"):
        training.load(tmp_path, weights="best")
    checkpoint.save(tmp_path, 0, some_state(), {"config": {"color": "red"}})
    with pytest.raises(ValueError, match=r"unknown fields .*color"):
        training.load(tmp_path)


def test_config_survives_json():
    config = Config(channel_mult=(1, 2, 3), attention=(), data_dir="/somewhere")
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config
