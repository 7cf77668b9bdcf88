"""The weights as one file: the same bits, in the format that others read, and errors for files that are none."""

import hashlib
import json
import os
import struct
import warnings
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import training
from gaussdiff import archives
from training import commands, runs
from training.commands import main
from training.config import Config
from training.data.fingerprint import Contents
from training.runs import settings
from training.step import Trainer
from training.storage import checkpoint, weights

TINY = Config(data="toy-gaussian", channels=8, blocks=1, batch=16)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run whose averaged weights are not its last ones."""
    folder = tmp_path_factory.mktemp("weights") / "run"
    trainer = Trainer.create(TINY, (2,), None)
    state = trainer.initial()
    draws = np.random.default_rng(0)
    ema = jax.tree.map(lambda leaf: leaf + draws.normal(size=leaf.shape).astype(np.float32), state.ema)
    checkpoint.save(folder, 7, state._replace(ema=ema), settings(trainer, Contents(8, 2, "")))
    return folder


@pytest.fixture(scope="module")
def file(run) -> Path:
    return training.export(run, run.parent / "there" / "weights.safetensors")


def parsed(content: bytes) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays and the facts of a file, by the words of the format: length, JSON header, bytes."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    facts = json.loads(header.pop("__metadata__")["gaussdiff"])
    arrays = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32"
        arrays[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    assert sum(array.nbytes for array in arrays.values()) == len(data)
    return arrays, facts


def same(one, other) -> bool:
    alike = jax.tree.structure(one) == jax.tree.structure(other)
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return alike and all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def test_the_file_alone_gives_the_same_denoiser(run, file, tmp_path):
    model = training.load(run)
    assert same(training.load(file), model)
    assert training.load_config(file) == TINY
    last = training.export(run, tmp_path / "last.safetensors", weights="params")
    assert same(training.load(last, "params"), training.load(run, "params"))
    assert not same(training.load(last, "params"), model)
    assert training.export(file, tmp_path / "copy.safetensors").read_bytes() == file.read_bytes()


def test_the_file_holds_what_the_format_says(run, file):
    found = checkpoint.latest(run)
    assert found is not None
    arrays, facts = parsed(file.read_bytes())
    written = facts.pop("sha256")
    assert facts == {"format": weights.FORMAT, "step": 7, "settings": found.settings | {"weights": "ema"}}
    parts = [json.dumps(facts, sort_keys=True).encode()]
    for name in sorted(arrays):
        parts += [json.dumps([name, "<f4", list(arrays[name].shape)]).encode(), arrays[name].tobytes()]
    assert written == hashlib.sha256(b"".join(parts)).hexdigest()
    assert arrays["layers.0.hidden.kernel"].shape == (8, 16)
    averaged = {name: value for name, value in found.arrays.items() if name.startswith(".ema[0]")}
    assert len(arrays) == len(averaged)
    for name, value in averaged.items():
        dotted = name.removeprefix(".ema[0]").replace("']['", ".").replace("'][", ".").replace("]['", ".")
        assert arrays[dotted.strip("[]'")].tobytes() == value.tobytes(), name


def test_arrays_in_any_order_of_memory_come_back(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    params = {"rows": array, "columns": np.asfortranarray(array), "every other": array[:, ::2], "number": array[1, 2]}
    weights.write(tmp_path / "x.safetensors", params, 0, {})
    for found in (
        weights.read(tmp_path / "x.safetensors").arrays,
        parsed((tmp_path / "x.safetensors").read_bytes())[0],
    ):
        assert all(
            np.array_equal(found[name], value) and found[name].shape == value.shape for name, value in params.items()
        )


def test_a_file_cut_anywhere_is_an_error(file, tmp_path):
    content = file.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(0, len(content), 61):
        cut.write_bytes(content[:length])
        with pytest.raises(
            ValueError, match=r"path \(--run\): .*cut.safetensors is no whole safetensors file .*; export it again"
        ):
            training.load(cut)


def test_a_bit_that_flips_anywhere_is_refused(file, tmp_path):
    """The format has no checksum: without ours, a bit in a weight or in the settings goes by unseen."""
    content, harmed = file.read_bytes(), tmp_path / "harmed.safetensors"
    draw = np.random.default_rng(0)
    for place in draw.choice(len(content), 300, replace=False):
        harmed.write_bytes(content[:place] + bytes([content[place] ^ 1 << draw.integers(8)]) + content[place + 1 :])
        with pytest.raises(ValueError, match=r"harmed\.safetensors"):
            weights.read(harmed)


def test_weights_of_format_1_have_no_checksum_and_still_open(file, tmp_path):
    facts = parsed(file.read_bytes())[1] | {"format": 1}
    del facts["sha256"]
    save_file(load_file(file), tmp_path / "old.safetensors", {"gaussdiff": json.dumps(facts)})
    assert same(training.load(tmp_path / "old.safetensors"), training.load(file))


def test_two_evaluations_of_one_run_do_not_take_each_others_place(run, tmp_path, monkeypatch):
    out = tmp_path / "evaluation.json"

    def assess(*arguments):
        arguments[-1]({})
        (tmp_path / "evaluation.json.partial").unlink()  # as the other one does at its end
        return {"levels": 1}

    monkeypatch.setattr(commands.evaluate, "assess", assess)
    monkeypatch.setattr(commands.evaluate, "page", str)
    monkeypatch.setattr(commands.runs, "load_data", lambda run: None)
    commands.Evaluate(run, out)()
    assert json.loads(out.read_text())["levels"] == 1


def altered(file: Path, out: Path, **facts) -> Path:
    arrays, changed = load_file(file), parsed(file.read_bytes())[1] | facts
    changed["sha256"] = archives.digest({name: changed[name] for name in ("format", "step", "settings")}, arrays)
    save_file(arrays, out, {"gaussdiff": json.dumps(changed)})
    return out


def test_other_files_are_errors(run, file, tmp_path):
    with pytest.raises(FileNotFoundError, match="expected the folder of a run or a file of weights"):
        training.load(tmp_path / "nothing.safetensors")
    with pytest.raises(
        ValueError, match=r"weights: expected 'ema', the only weights in .*, got 'params'; set --weights ema"
    ):
        training.load(file, "params")
    with pytest.raises(ValueError, match=r"out: expected a name that ends in \.safetensors, got weights\.npz"):
        training.export(run, "weights.npz")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": np.zeros(3, np.float32)}, foreign)
    with pytest.raises(ValueError, match=r"foreign\.safetensors, whose header says none"):
        training.load(foreign)
    with pytest.raises(ValueError, match=r"expected weights of format 2 .* says 3; export them again"):
        training.load(altered(file, foreign, format=3))
    held = parsed(file.read_bytes())[1]["settings"]
    held["config"]["channels"] = 16
    with pytest.raises(ValueError, match=r"expected float32 of shape \(.*\) at embedding.*, got float32 of shape"):
        training.load(altered(file, foreign, settings=held))


def test_a_failed_export_leaves_the_file_before(run, tmp_path, monkeypatch):
    out = tmp_path / "weights.safetensors"
    out.write_bytes(b"before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"could not write .*weights\.safetensors: No space left on device \(.* MB free"):
        training.export(run, out)
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]
    assert out.read_bytes() == b"before"


@pytest.mark.slow
def test_samples_that_cannot_be_written_leave_the_file_before(run, tmp_path, monkeypatch, capsys):
    out = tmp_path / "samples.npz"
    out.write_bytes(b"before")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["sample", "--run", str(run), "--out", str(out), "--n", "2", "--steps", "1"]) == 2
    said = capsys.readouterr().err
    assert "samples.npz: No space left on device" in said
    assert "choose another --out" in said
    assert [path.name for path in tmp_path.iterdir()] == ["samples.npz"]
    assert out.read_bytes() == b"before"


def test_a_picture_of_samples_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    replace = os.replace

    def full(source, target):
        if target.suffix == ".png":
            raise OSError(28, "No space left on device")
        replace(source, target)

    model = SimpleNamespace(shape=(4, 4, 1), given=lambda *_: None)
    monkeypatch.setattr(commands.runs, "load", lambda *_: model)
    monkeypatch.setattr(commands.runs, "load_config", lambda _: Config())
    monkeypatch.setattr(commands.sampling, "samples", lambda *_, **__: np.zeros((4, 4, 4, 1), np.float32))
    monkeypatch.setattr(os, "replace", full)
    (tmp_path / "samples.png").write_bytes(b"before")
    with pytest.raises(OSError, match=r"could not write .*samples\.png: No space left on device .* another --out"):
        commands.Sample(tmp_path, tmp_path / "samples.npz")()
    assert (tmp_path / "samples.png").read_bytes() == b"before"
    with np.load(tmp_path / "samples.npz") as file:
        assert file["samples"].shape == (4, 4, 4, 1)


def test_data_that_are_not_those_of_the_run_are_told(tmp_path):
    file, rng = tmp_path / "points.npy", np.random.default_rng(0)
    np.save(file, rng.normal(size=(50, 2)))
    training.train(training.Config(data=str(file), channels=8, blocks=1, steps=0), tmp_path / "run")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runs.load_data(tmp_path / "run").shape == (2,)
    np.save(file, rng.normal(size=(50, 2)))
    with pytest.warns(
        UserWarning, match=r"data: this run was started on \d+ training .* got \d+ training .* may have been trained on"
    ):
        runs.load_data(tmp_path / "run")
    np.save(file, rng.normal(size=(50, 3)))
    with pytest.raises(
        ValueError, match=r"started on samples of shape \(2,\) .* got \(3,\) .* judge it on its own data"
    ):
        runs.load_data(tmp_path / "run")


@pytest.mark.slow
def test_commands_export_and_take_the_file(run, tmp_path, capsys):
    out = tmp_path / "weights.safetensors"
    assert main(["export", "--run", str(run), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"ema weights, {out.stat().st_size:,} bytes: {out}\n"
    assert same(training.load(out), training.load(run))
    assert main(["evaluate", "--run", str(out), "--samples", "0", "--likelihoods", "0"]) == 0
    assert (tmp_path / "evaluation.json").exists()
    for source in (out, run):
        target = tmp_path / f"{source.name}.npz"
        assert main(["sample", "--run", str(source), "--n", "2", "--steps", "3", "--out", str(target)]) == 0
    assert (tmp_path / f"{out.name}.npz").read_bytes() == (tmp_path / f"{run.name}.npz").read_bytes()
    assert main(["export", "--run", str(run), "--out", str(tmp_path / "weights.npz")]) == 2
    assert "expected a name that ends in .safetensors" in " ".join(capsys.readouterr().err.split())
