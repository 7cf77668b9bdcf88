"""Checkpoints: whole or passed over, never half; equal bits back; errors that name what is wrong."""

import itertools
import json
import resource
import shutil
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd
import training
from training import runs
from training.config import Config
from training.data.fingerprint import Contents
from training.runs import settings
from training.step import Trainer
from training.storage import checkpoint

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


def kept(run: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in (run / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("keep_last", "keep_every", "keep_powers", "left"),
    [
        (1, 0, False, [100_000_000]),
        (2, 0, False, [90_000_000, 100_000_000]),
        (9, 0, False, [0, 1, 5, 8, 12, 20, 24, 90_000_000, 100_000_000]),
        (1, 10, False, [0, 20, 90_000_000, 100_000_000]),
        (3, 12, False, [0, 12, 24, 90_000_000, 100_000_000]),
        (1, 0, True, [1, 8, 100_000_000]),
        (1, 12, True, [0, 1, 8, 12, 24, 90_000_000, 100_000_000]),
    ],
)
def test_the_last_are_kept_every_nth_and_powers_in_order_of_their_steps(
    keep_last, keep_every, keep_powers, left, tmp_path
):
    for step in (0, 1, 5, 8, 12, 20, 24, 90_000_000, 100_000_000):
        checkpoint.save(tmp_path, step, some_state(), {}, checkpoint.Keep(keep_last, keep_every, keep_powers))
    assert kept(tmp_path) == left
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 100_000_000


def test_a_damaged_newer_state_does_not_push_out_the_whole_ones(tmp_path):
    for step in (5, 10):
        path = checkpoint.save(tmp_path, step, some_state(step), {})
    (path / "state.npz").write_bytes(b"harm")
    checkpoint.save(tmp_path, 7, some_state(7), {}, checkpoint.Keep(last=1))
    with pytest.warns(UserWarning, match="step-00000010"):
        found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.step == 7
    checkpoint.save(tmp_path, 10, some_state(10), {}, checkpoint.Keep(last=1))
    assert kept(tmp_path) == [10]
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.arrays["['a'][1]"] == 10


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


def test_a_byte_gone_wrong_anywhere_is_found_or_does_no_harm(tmp_path):
    """In the manifest too, which has no checksum of its own: it says nothing that is not checked."""
    old, new = (checkpoint.read(checkpoint.save(tmp_path, step, some_state(step), {"at": step})) for step in (1, 2))
    for path in new.path.iterdir():
        content = path.read_bytes()
        for i in range(0, len(content), 1 if path.name == "manifest.json" else 7):
            path.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
            with warnings.catch_warnings(action="ignore"):
                found = checkpoint.latest(tmp_path)
            assert found is not None
            assert found.path in (old.path, new.path)
            expected = old if found.path == old.path else new
            assert (found.step, found.settings) == (expected.step, expected.settings)
            assert all(found.arrays[name].tobytes() == value.tobytes() for name, value in expected.arrays.items())
            assert found.path == old.path or path.name == "manifest.json"
        path.write_bytes(content)


@pytest.mark.slow
def test_a_state_in_pieces_comes_back_bitwise_and_damage_to_any_of_its_files_is_found(tmp_path):
    """Written by one process here, by two in test_sharding.py."""
    old, new = (checkpoint.save_shards(tmp_path, step, some_state(step), {"at": step}) for step in (1, 2))
    found = checkpoint.latest(tmp_path)
    assert found is not None
    assert (found.path, found.step, found.settings) == (new, 2, {"at": 2})
    expected = checkpoint.flatten(some_state(2))
    assert found.arrays.keys() == expected.keys()
    for name, value in expected.items():
        assert (found.arrays[name].dtype, found.arrays[name].tobytes()) == (value.dtype, value.tobytes())
    files = [path for path in new.rglob("*") if path.is_file()]
    assert len([path for path in files if new / "state" in path.parents]) > 5
    for path in files:
        content = path.read_bytes()
        changed = [content[: len(content) // 2], bytes([content[0] ^ 1]) + content[1:]] if content else [b"more"]
        for harmed in (*changed, None):
            path.write_bytes(harmed) if harmed is not None else path.unlink()
            assert not checkpoint._is_whole(new), path
        path.write_bytes(content)
    (new / "state" / "more").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"step-00000002 \(state/more: not there, or not written with the others\)"):
        found = checkpoint.latest(tmp_path)
    assert found is not None
    assert found.path == old
    checkpoint.save_shards(tmp_path, 2, some_state(3), {}, checkpoint.Keep(last=1))
    assert kept(tmp_path) == [2]


def test_a_disk_that_takes_no_more_is_explained_and_the_last_state_stays(tmp_path):
    """A true failure of write(), which holds for root too: files of this process may not grow past a size."""
    checkpoint.save(tmp_path, 1, some_state(), {"at": 1})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    large = {"a": np.zeros(100_000, np.float32)}
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            checkpoint.save(tmp_path, 2, large, {"at": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    said = str(error.value)
    assert said.startswith(f"could not write {tmp_path}/checkpoints/step-00000002: File too large (")
    assert "MB free on the disk of" in said
    assert said.endswith("the same command then continues from step-00000001, which is whole")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert kept(tmp_path) == [1]
    checkpoint.save(tmp_path, 2, large, {"at": 2})


def test_a_folder_deleted_under_the_run_is_made_again(tmp_path):
    run = tmp_path / "some" / "run"
    checkpoint.save(run, 1, some_state(), {})
    shutil.rmtree(tmp_path / "some")
    checkpoint.save(run, 2, some_state(), {})
    assert kept(run) == [2]


def test_a_file_in_the_place_of_the_folder_is_explained(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(OSError, match=r"Not a directory .*begins the run again"):
        checkpoint.save(tmp_path / "run", 1, some_state(), {})


def test_a_reader_of_a_run_that_trains_takes_a_newer_state_where_its_own_is_gone(tmp_path, monkeypatch):
    read, steps = checkpoint.read, iter((3, 5))
    for step in (1, 2):
        checkpoint.save(tmp_path, step, some_state(step), {})

    def slowly(path):
        for step in itertools.islice(steps, 1):  # before the files are read, two more are saved and the old ones go
            for each in (step, step + 1):
                checkpoint.save(tmp_path, each, some_state(each), {})
        return read(path)

    monkeypatch.setattr(checkpoint, "read", slowly)
    with warnings.catch_warnings(action="error"):
        saved = checkpoint.latest(tmp_path)
    assert saved is not None
    assert saved.step == 6


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


@pytest.mark.slow
def test_load_opens_a_run_by_relative_path_and_shares_traces(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    models, traces = [], []
    for seed in (0, 1):
        config = Config(**{**vars(TINY), "seed": seed})
        trainer = Trainer.create(config, (2,), None)
        checkpoint.save(Path(f"run{seed}"), 0, trainer.initial(), settings(trainer, Contents(8, 2, "")))
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
    two = Config(ema_half_lives=(1.0, 2.0)).to_json()
    checkpoint.save(tmp_path / "two", 0, some_state(), {"config": two, "data": {"shape": [2], "classes": None}})
    with pytest.raises(ValueError, match="weights: expected one of ema, ema-2, params, got 'best'"):
        training.load(tmp_path / "two", weights="best")
    checkpoint.save(tmp_path, 0, some_state(), {"config": {"color": "red"}})
    with pytest.raises(ValueError, match=r"settings that this version knows, got color, .* install"):
        training.load(tmp_path)


def test_config_survives_json():
    config = Config(channel_mult=(1, 2, 3), attention=(), data_dir="/somewhere")
    assert Config.from_json(json.loads(json.dumps(config.to_json()))) == config


@pytest.mark.slow
def test_a_state_that_the_oldest_flax_wrote_opens_today():
    """Written with jax 0.7.2 and flax 0.11.2, the floors in pyproject.toml, by

    training train --data digits --channels 4 --channel-mult 1 --attention 8 --groups 2 --blocks 1 --batch 8 --labels
        --steps 3 --learning-rate 0.03 --warmup 0 --condition-dropout 0.5 --no-keep-powers --keep-last 1

    and the answers are what `training.load` gave there.
    """
    folder = Path(__file__).parent / "flax_0_11"
    model, found = training.load(folder), runs.open_run(folder)
    x, level = np.linspace(-2, 2, 64, dtype=np.float32).reshape(8, 8, 1), gd.NoiseLevel(1.0, 0.5)
    with np.load(folder / "answers.npz") as answers:
        np.testing.assert_allclose(model.denoise(x, level), answers["unconditional"], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(model.given(3).denoise(x, level), answers["three"], rtol=1e-5, atol=1e-6)
        assert np.abs(answers["three"] - answers["unconditional"]).max() > 1e-3
    trainer = Trainer.create(training.Config.from_json(found.settings["config"]), *runs.facts(found))
    state = checkpoint.restore(trainer.abstract(), found.arrays)  # optimizer and all
    assert state.step == 3
