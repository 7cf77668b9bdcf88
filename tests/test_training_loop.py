"""Runs: continued to the bit, stopped cleanly, refused without a trace, and the commands around them."""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import io
import itertools
import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import rich.console
from settings import TRAINED

import gaussdiff as gd
import training
from training import Config, commands, interrupts, loop, sampling
from training.commands import defaults, main
from training.data import dataset
from training.page import journal
from training.presets import preset
from training.storage import checkpoint, lock

ROOT = Path(__file__).parents[1]
TINY = Config(
    data="toy-gaussian", channels=8, blocks=1, channel_mult=(1,), attention=(), batch=16, steps=20, checkpoint_every=6,
    log_every=3, evaluate_every=10,
)  # fmt: skip
FLAGS = ["--data", "toy-gaussian", "--channels", "8", "--blocks", "1", "--batch", "16"]


def arrays(run: Path) -> dict[str, np.ndarray]:
    found = checkpoint.latest(run)
    assert found is not None
    return found.arrays


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same_bits(one: Path, other: Path) -> None:
    a, b = arrays(one), arrays(other)
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value.tobytes() == b[name].tobytes(), name


def command(*words: str | Path, **options) -> subprocess.Popen:
    line = [sys.executable, "-m", "training", *map(str, words)]
    return subprocess.Popen(line, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def wait_for(condition, process: subprocess.Popen, seconds: float = 120) -> None:
    end = time.perf_counter() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.perf_counter() < end, "nothing happened"
        time.sleep(0.02)


def saved_steps(run: Path) -> list[int]:
    return sorted(int(path.name[5:]) for path in run.glob("checkpoints/step-*"))


def newest_step(run: Path) -> int:
    return max(saved_steps(run), default=0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """The run of TINY that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    training.train(TINY, folder)
    return folder


@pytest.mark.slow
def test_two_parts_equal_one_whole(whole, tmp_path, capsys):
    training.train(dataclasses.replace(TINY, steps=7), tmp_path / "parts")
    training.train(dataclasses.replace(TINY, checkpoint_every=100, keep_powers=True), tmp_path / "parts")
    assert "from step 7" in capsys.readouterr().out
    assert_same_bits(whole, tmp_path / "parts")
    steps = [json.loads(line)["step"] for line in (tmp_path / "parts" / "train.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert steps[-1] == 20
    # And what a power of two left stays, whatever is kept of the others.
    assert saved_steps(tmp_path / "parts") == [8, 16, 20]
    assert int(checkpoint.read(tmp_path / "parts" / "checkpoints" / "step-00000008").arrays[".step"]) == 8


LONG = ["train", *FLAGS, "--steps", "1000000"]
BOTH = """
import sys
from training.commands import main
codes = [main([*sys.argv[3:], "--out", run]) for run in sys.argv[1:3]]
sys.exit(max(codes))
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory) -> tuple[Path, dict[str, str], str]:
    """A run that was killed three times, each time in a new process and later after its first save.

    And the variables of these processes, which share what they compile, and the refusal of a second training there.
    """
    folder = tmp_path_factory.mktemp("killed")
    compiled = {
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    run, env, refusal = folder / "run", os.environ | compiled, io.StringIO()
    for i in range(3):
        begin = newest_step(run)
        process = command(*LONG, "--checkpoint-every", "1", "--log-every", "7", "--out", run, env=env)
        wait_for(lambda begin=begin: newest_step(run) > begin, process)
        if i == 0:
            with contextlib.redirect_stderr(refusal):
                assert main([*LONG, "--out", str(run)]) == 2
            assert process.poll() is None
            holder = process.pid
        time.sleep(0.07 * i)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        training.load(run)
    return run, env, refusal.getvalue().replace(f"process {holder} ", "the first process ")


@pytest.mark.slow
def test_a_second_training_in_the_folder_stops_at_once_and_the_death_of_the_first_frees_it(killed, capsys):
    run, _, refusal = killed
    assert f"no other training writes to, got {run}, locked by the first process on " in refusal
    assert main(["train", *FLAGS, "--steps", "1", "--out", str(run)]) == 0
    assert "reused" in capsys.readouterr().out


@pytest.mark.slow
def test_killed_at_any_moment_a_run_continues_to_the_same_bits_in_a_new_process(killed):
    """`python -m benchmarks.kills` does this a hundred times."""
    (run, env, _), whole = killed, killed[0].parent / "whole"
    steps = newest_step(run) + 12
    words = [sys.executable, "-c", BOTH, run, whole, "train", *FLAGS, "--steps", str(steps)]
    done = subprocess.run([*map(str, words)], cwd=ROOT, env=env, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("continuing") == 1
    assert f"continuing {run} from step " in done.stdout
    assert int(arrays(run)[".step"]) == steps
    assert_same_bits(run, whole)
    assert not list(run.glob("checkpoints/.writing*"))
    journal = [json.loads(line)["step"] for line in (run / "train.jsonl").read_text().splitlines()]
    assert journal == sorted(set(journal))


def test_a_folder_is_held_by_one_until_the_end_of_its_block(tmp_path):
    run = tmp_path / "run"
    with (
        lock.exclusive(run),
        pytest.raises(ValueError, match=f"got {run}, locked by process {os.getpid()} on "),
        lock.exclusive(run),
    ):
        pass
    assert not run.exists()
    run.mkdir()
    with lock.exclusive(run):
        pass
    assert run.exists(), "a folder that was there is not ours to remove"
    (run / "checkpoints").mkdir()
    with pytest.raises(KeyError), lock.exclusive(run):
        raise KeyError
    with lock.exclusive(run):
        assert (run / "checkpoints").exists()


def test_a_lock_file_that_was_deleted_is_made_again_without_a_word(tmp_path):
    with lock.exclusive(tmp_path) as locked, warnings.catch_warnings(action="error"):
        assert locked is not None
        locked.follow(1)
        (tmp_path / lock.NAME).unlink()
        locked.follow(1)
        with pytest.raises(ValueError, match="locked by process"), lock.exclusive(tmp_path):
            pass


@pytest.mark.slow
def test_a_run_that_is_renamed_while_it_trains_says_so_and_loses_no_state(tmp_path, monkeypatch):
    """And a clock that goes back, which nothing in a run relies on."""
    run, aside, save = tmp_path / "run", tmp_path / "aside", checkpoint.save
    backwards = itertools.count(10**9, -1000)
    monkeypatch.setattr(time, "time", lambda: float(next(backwards)))

    def then_rename(out, step, *arguments):
        path = save(out, step, *arguments)
        os.utime(path, (10**9 - 1000 * step,) * 2)
        if step == 12:
            run.rename(aside)
        return path

    monkeypatch.setattr(loop.checkpoint, "save", then_rename)
    with pytest.warns(UserWarning, match=r"run was moved, renamed or deleted while it trains; from step 18 on"):
        training.train(TINY, run)
    monkeypatch.undo()
    assert (saved_steps(aside), saved_steps(run)) == ([6, 12], [18, 20])
    times = [json.loads(line)["time"] for line in (aside / "train.jsonl").read_text().splitlines()]
    assert times == sorted(times, reverse=True)
    training.train(TINY, aside)  # goes on from what it had, to the same bits
    assert_same_bits(run, aside)
    with lock.exclusive(run), lock.exclusive(aside):
        pass


def test_another_training_in_the_place_of_a_moved_folder_is_not_written_over(tmp_path):
    run = tmp_path / "run"
    with lock.exclusive(run) as locked:
        assert locked is not None
        run.rename(tmp_path / "aside")
        with lock.exclusive(run), pytest.raises(ValueError, match=r"got .*run, locked by process"):
            locked.follow(1)


def test_a_disk_that_knows_no_locks_or_cannot_be_written_is_trained_on_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the place of a folder")
    with lock.exclusive(tmp_path / "file"), lock.exclusive(tmp_path / "file" / "run"):
        pass

    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock.exclusive(tmp_path), lock.exclusive(tmp_path):
        pass


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_continue(tmp_path, monkeypatch, capfd):
    """In this process, which sends itself what Ctrl-C sends as soon as it has written down a step."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which processes in the background may inherit as ignored
    note = journal.Journal.note

    def press(book, step, *seen, **named):
        note(book, step, *seen, **named)
        if step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(journal.Journal, "note", press)
    assert main([*LONG, "--log-every", "1", "--out", str(tmp_path)]) == 130
    errors = capfd.readouterr().err
    assert f"saved in {tmp_path}; the same command continues it" in errors
    assert f"stopped at step {newest_step(tmp_path)}, " in errors
    assert newest_step(tmp_path) > 0


@pytest.mark.slow
def test_ctrl_c_before_training_is_one_line(tmp_path):
    process = command("train", *FLAGS, "--out", tmp_path / "run")
    time.sleep(1)  # within the import of jax
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=600)
    assert (process.returncode, out) == (130, "")
    assert errors.startswith("interrupted; the same command begins again")
    assert errors.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("presses", [1, 2])
def test_ctrl_c_while_compiling_is_answered_at_once(presses, tmp_path):
    process = command("train", *FLAGS, "--out", tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "step 0 of 1000  compiling\n"
    process.send_signal(signal.SIGINT)
    assert process.stderr.readline().startswith("stopping soon, and saving")
    assert process.poll() is None
    if presses == 2:
        process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert errors.startswith("stopped at step 1, saved" if presses == 1 else "interrupted;")
    assert errors.count("\n") == 1
    assert newest_step(tmp_path) == 2 - presses


def test_ctrl_c_is_heard_while_the_main_thread_is_busy_outside_python():
    heard = []
    with interrupts.first(lambda: heard.append(time.perf_counter())):
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
        hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000)
        end = time.perf_counter()
    assert len(heard) == 1
    assert heard[0] < end


def test_the_first_ctrl_c_is_noted_and_the_second_acts_as_before(capfd):
    # Processes started in the background may inherit that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with interrupts.noted() as asked:
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.wait(10)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert capfd.readouterr().err.startswith("stopping soon, and saving; while compiling")
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before


def test_the_program_listens_before_jax_is_imported():
    code = "import sys, training, training.__main__; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_the_last_held_out_loss_stays_shown(tmp_path, capsys):
    with journal.opened(tmp_path / "train.jsonl", 0, 3, batch=4) as book:
        book.note(1, 0.5, 10.0, held_out=None)
        book.note(2, 0.5, 10.0, held_out=0.25)
        book.note(3, 0.5, 10.0, held_out=None)
    lines = capsys.readouterr().out.splitlines()
    assert [line.startswith(f"step {i} of 3  ") for i, line in enumerate(lines)] == [True] * 4
    assert ["held-out 0.25" in line for line in lines] == [False, False, True, True]
    kept = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert ["held_out_loss" in line for line in kept] == [False, True, False]


def test_the_bar_of_a_slow_network_shows_how_long_it_will_take(tmp_path, monkeypatch):
    """Looks 100 s apart, of which rich forgets each before the next by its own setting."""
    now, shown = [0.0], io.StringIO()
    console = rich.console.Console(file=shown, force_terminal=True, width=160)
    monkeypatch.setattr(journal, "Progress", partial(journal.Progress, console=console, get_time=lambda: now[0]))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with journal.opened(tmp_path / "train.jsonl", 0, 500, batch=4) as book:
        for step in (50, 100):
            now[0] += 100
            book.note(step, 0.5, 10.0, held_out=None)
        book.bar.refresh()
    assert "0:13:20" in shown.getvalue()  # 400 steps of 2 s


def test_a_journal_that_cannot_be_written_says_what_to_do(tmp_path):
    path = tmp_path / "deleted meanwhile" / "train.jsonl"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with journal.opened(path, 0, 2, batch=4) as book:
        book.note(1, 0.5, 10.0, held_out=None)
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 5, limit[1]))
        try:
            with pytest.raises(
                OSError, match=r"could not write .*train\.jsonl: File too large .*the last saved state$"
            ):
                book.note(2, 0.5, 10.0, held_out=None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    journal.rewind(path, 2)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1]


@pytest.mark.slow
def test_no_steps_make_an_untrained_run(tmp_path, capsys):
    line = ["train", *FLAGS, "--out", str(tmp_path), "--steps"]
    assert main([*line, "0"]) == 0
    assert capsys.readouterr().out == f"initialised, not trained: {tmp_path}\n"
    assert training.load(tmp_path).shape == (2,)
    assert main([*line, "2"]) == 0
    assert f"\ntrained: {tmp_path}\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_finished_run_is_reused_at_once_and_untouched(trained, capsys):
    before = contents(trained)
    again = training.train(dataclasses.replace(TRAINED, steps=1), trained)
    assert "already trained to step 2; reused (more than the 1 asked for)" in capsys.readouterr().out
    assert contents(trained) == before
    jax.tree.map(np.testing.assert_array_equal, training.load(trained), again)


@pytest.mark.slow
def test_changed_settings_are_listed_and_nothing_is_touched(trained):
    before = contents(trained)
    with pytest.raises(ValueError, match=r"channels: 8 -> 16\n  seed: 0 -> 3\n") as error:
        training.train(dataclasses.replace(TRAINED, channels=16, seed=3, steps=50), trained)
    assert "steps" not in str(error.value)
    assert contents(trained) == before


@pytest.mark.slow
def test_damage_is_passed_over_and_the_run_goes_on(whole, tmp_path):
    training.train(dataclasses.replace(TINY, steps=12), tmp_path)
    (tmp_path / "checkpoints" / "step-00000012" / "state.npz").write_bytes(b"harm")
    with pytest.warns(UserWarning, match="step-00000012"):
        training.train(TINY, tmp_path)
    assert_same_bits(tmp_path, whole)


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_the_same_command_continues(tmp_path, monkeypatch, capsys):
    full, calls = tmp_path / "full", itertools.count()
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        if next(calls) == 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(descriptor)

    cadence = ["--checkpoint-every", "3", "--keep-last", "1", "--keep-every", "6", "--no-keep-powers"]
    line = ["train", *FLAGS, "--steps", "12", *cadence, "--out"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        assert main([*line, str(full)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: could not write {full}/checkpoints/step-")
    assert "No space left on device" in said
    before = newest_step(full)
    assert 0 < before < 12
    assert said.endswith(f"the same command then continues from step-{before:08d}, which is whole\n")
    assert not list(full.glob("checkpoints/.writing*"))
    assert main([*line, str(full)]) == 0
    assert f"from step {before}" in capsys.readouterr().out
    assert sorted(path.name[5:] for path in full.glob("checkpoints/*")) == ["00000000", "00000006", "00000012"]


@pytest.mark.slow
def test_a_diverging_run_stops_and_keeps_the_last_good_state(tmp_path):
    wild = dataclasses.replace(TINY, learning_rate=1e30, warmup=0, checkpoint_every=1)
    with pytest.raises(FloatingPointError, match=r"at step \d+\..*--learning-rate"):
        training.train(wild, tmp_path)
    assert all(np.isfinite(leaf).all() for name, leaf in arrays(tmp_path).items() if not name.startswith(".opt_state"))


def test_the_first_step_without_a_finite_loss_is_named(tmp_path):
    losses = [jnp.float32(value) for value in (1.0, np.nan, np.inf)]
    with pytest.raises(FloatingPointError, match=r"loss: expected finite numbers, got nan at step 8\."):
        loop._mean(losses, 9, tmp_path)
    assert loop._mean(losses[:1], 9, tmp_path) == 1


@pytest.mark.slow
def test_a_last_update_that_leaves_the_floats_is_not_saved(tmp_path):
    wild = dataclasses.replace(TINY, learning_rate=1e38, warmup=0, steps=1, checkpoint_every=1)
    with pytest.raises(FloatingPointError, match=r"weights: expected finite numbers.* at step 1\."):
        training.train(wild, tmp_path)
    assert newest_step(tmp_path) == 0


@pytest.mark.slow
def test_the_loss_of_the_digits_falls(tmp_path):
    config = Config(
        channels=16, channel_mult=(1,), attention=(), blocks=1, batch=32, steps=60, warmup=20, evaluate_every=20
    )
    training.train(config, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    held_out = [line["held_out_loss"] for line in lines if "held_out_loss" in line]
    # An untrained denoiser has 1; the Gaussian of the same data has about 0.5.
    assert held_out[-1] < 0.75
    assert held_out[-1] < held_out[0]


@pytest.mark.slow
def test_commands_sample_and_evaluate(trained, tmp_path, capsys):
    run, out = str(trained), tmp_path / "some" / "x.npz"
    assert main(["sample", "--run", run, "--n", "5", "--steps", "4", "--out", str(out)]) == 0
    with np.load(out) as file:
        x = file["samples"]
    assert x.shape == (5, 2)
    # Sample i does not depend on how many are drawn.
    np.testing.assert_allclose(
        sampling.samples(training.load(run), 2, gd.Heun(), gd.grids.karras(4, sigma_max=60.0), 0),
        x[:2],
        rtol=1e-4,
        atol=1e-5,
    )
    found = tmp_path / "new" / "folder" / "found.json"
    assert main(["evaluate", "--run", run, "--samples", "0", "--likelihoods", "0", "--out", str(found)]) == 0
    assert "held out" in capsys.readouterr().out
    rows = json.loads(found.read_text())["levels"]["rows"]
    assert all(np.isfinite([*row["train"], *row["held_out"], row["loss"]]).all() for row in rows)


@pytest.mark.slow
def test_samples_are_asked_for_with_all_that_the_network_learned_with_or_nothing(tmp_path, capsys):
    """Of a network that is not trained: what it answers is not asked for here."""
    run, small = str(tmp_path / "run"), tmp_path / "small.npy"
    tiny = "--network dit --channels 8 --blocks 1 --steps 0 --labels --super-resolution 2"
    assert main(["train", *tiny.split(), "--condition-dropout", "0", "--out", run]) == 0
    np.save(small, np.zeros((1, 4, 4, 1)))
    sample = ["sample", "--run", run, "--steps", "2", "--out", str(tmp_path / "x.npz")]
    for told, message in (
        ([], "run: expected a network that also learns without its condition"),
        (["--label", "3"], "sharpen: expected one beside label, as the run learned with both"),
        (["--sharpen", str(small)], "label: expected one beside sharpen, as the run learned with both"),
    ):
        assert main([*sample, *told]) == 2
        assert message in capsys.readouterr().err
    both = ["--label", "3", "--sharpen", str(small)]
    assert main([*sample, *both]) == 0
    with np.load(tmp_path / "x.npz") as file:
        assert file["samples"].shape == (1, 8, 8, 1)
    for told, message in (([], "without its condition"), (both, "guidance: expected a network that also learns")):
        assert main([*sample, *told, "--guidance", "2"]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_guided_samples_are_those_of_the_guided_denoiser(tmp_path, capsys):
    run, out = ROOT / "tests" / "flax_0_11", tmp_path / "x.npz"  # trained with labels, three steps
    sample = ["sample", "--run", str(run), "--steps", "2", "--n", "2", "--out", str(out)]
    assert main([*sample, "--guidance", "3"]) == 2
    assert "add --label or --sharpen, or drop --guidance" in capsys.readouterr().err
    assert main([*sample, "--label", "4", "--guidance", "3"]) == 0
    model, levels = training.load(run), gd.grids.karras(2)
    guided = gd.Guided(model.given(4), model, 3.0)
    with np.load(out) as file:
        expected = sampling.samples(model, 2, gd.Heun(), levels, 0, conditioned=guided)
        np.testing.assert_allclose(file["samples"], expected, rtol=1e-4, atol=1e-5)
        unguided = sampling.samples(model, 2, gd.Heun(), levels, 0, conditioned=model.given(4))
        assert np.abs(file["samples"] - unguided).max() > 1e-4


@pytest.mark.slow
def test_a_trained_network_is_the_one_that_is_loaded(tmp_path):
    """Also of a run whose products are rounded while it trains: it is asked in float32 either way."""
    config = dataclasses.replace(TINY, steps=1, dtype="bfloat16")
    trained = training.train(config, tmp_path)
    x, level = jax.random.normal(jax.random.key(0), (2,), np.float32), gd.NoiseLevel(1.0, 0.5)
    answers = [
        model.denoise(x, level) for model in (trained, training.load(tmp_path), training.train(config, tmp_path))
    ]
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


def test_too_little_memory_is_an_error_with_a_cure(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")

    monkeypatch.setattr(commands, "train", full)
    assert main(["train", "--out", str(tmp_path)]) == 2
    assert re.search(r"error: .*too little memory .*9 bytes.*--accumulate.*--remat", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--data", "digitz", "--out", "OUT"], "Did you mean 'digits'"),
        (["train", "--preset", "celeba", "--out", "OUT"], "preset: expected one of digits, mnist"),
        (["train", "--batch", "0", "--out", "OUT"], "batch: expected an integer of at least 1, got 0"),
        (["train", "--channels", "12", "--out", "OUT"], "groups: expected a divisor"),
        (["train", "--data", "toy-ring", "--labels", "--out", "OUT"], "drop --labels"),
        (["train", "--data", "mnist", "--data-dir", "OUT", "--out", "OUT"], "download_and_prepare"),
        (["sample", "--run", "OUT", "--out", "OUT/x.npz"], "expected the folder of a run"),
        (["sample", "--run", "OUT", "--out", "OUT/x.npz", "--seed", "-3"], "seed: expected an integer in [0, 2**32)"),
        (["sample", "--run", "OUT", "--out", "OUT/x.txt"], "out: expected a name that ends in .npz"),
        (["evaluate", "--run", "OUT"], "expected the folder of a run"),
    ],
)
def test_user_errors_are_one_message_and_exit_code_2(arguments, message, tmp_path, capfd):
    words = [word.replace("OUT", str(tmp_path / "out")) for word in arguments]
    assert main(words) == 2
    errors = capfd.readouterr().err
    assert message in " ".join(errors.split())
    assert "Traceback" not in errors
    assert not (tmp_path / "out").exists()


def test_the_data_set_chooses_the_defaults():
    for line in ("train --steps 3 --data mnist", "train --data=mnist"):
        assert defaults(line.split()) == preset("mnist")
    assert defaults(["train", "--data"]) == preset("digits")
    faces = dataclasses.replace(preset("celeba64"), data="my/faces")
    assert defaults(["train", "--preset", "celeba64", "--data", "my/faces"]) == faces


@pytest.mark.parametrize("word", ["train", "sample", "evaluate"])
def test_help_is_for_people(word, capsys):
    with pytest.raises(SystemExit) as end:
        main([word, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert ("--data" in text) if word == "train" else ("--run" in text)


def test_data_on_a_scale_that_no_noise_level_is_made_for_are_refused(tmp_path):
    far = dataset.from_arrays(50 * np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32))
    measured = dataclasses.replace(TINY, sigma_data=None)
    with pytest.raises(ValueError, match=r"data: expected a standard deviation between 0\.1 and 5\.0, .*standardise"):
        training.train(measured, tmp_path / "far", far)
    assert not (tmp_path / "far").exists()


@pytest.mark.slow
def test_a_run_is_not_continued_on_other_data_nor_asked_in_few_digits(tmp_path):
    law = gd.Gaussian.isotropic(np.zeros(3, np.float32), 1.0)
    coarse = dataclasses.replace(TINY, steps=0, dtype="bfloat16")
    training.train(coarse, tmp_path / "run", law)
    more = dataclasses.replace(coarse, steps=1)
    with pytest.raises(ValueError, match=r"data: this run was started on samples of shape \(3,\) .* got \(2,\)"):
        training.train(more, tmp_path / "run")
    with pytest.raises(ValueError, match=r"started on 8\d\d\d training and \d+ held-out .*, got \d\d training and \d+"):
        training.train(more, tmp_path / "run", dataset.from_arrays(np.random.default_rng(0).normal(size=(90, 3))))
    with pytest.warns(UserWarning, match="another law, or samples drawn on another kind of device"):
        training.train(more, tmp_path / "run", gd.Gaussian.isotropic(np.ones(3, np.float32), 1.0))
    model = training.load(tmp_path / "run")
    text = jax.jit(type(model).denoise).lower(model, np.zeros(3, np.float32), gd.NoiseLevel(1.0, 1.0)).as_text()
    assert "bf16" not in text


@pytest.mark.slow
def test_a_finished_run_is_not_reused_for_other_data_that_are_at_hand(tmp_path):
    """Those of a file that was written again, and those given; other labels count where they are used."""
    rng, file, run = np.random.default_rng(0), tmp_path / "mine.npy", tmp_path / "run"
    x, labels = rng.normal(size=(90, 2)).astype(np.float32), np.arange(90, dtype=np.int32) % 2
    np.save(file, x)
    untrained = dataclasses.replace(TINY, data=str(file), steps=0)
    training.train(untrained, run)
    before = contents(run)
    training.train(untrained, run)
    np.save(file, x + 1)
    with pytest.raises(ValueError, match=r"data: this run was started on 69 training .*give the data of the run"):
        training.train(untrained, run)
    with pytest.warns(UserWarning, match="data: this run was started on"):
        training.train(dataclasses.replace(untrained, accept_data=True), run)
    file.unlink()
    training.train(untrained, run)
    assert contents(run) == before
    for told in (True, False):
        config, out = dataclasses.replace(TINY, steps=0, labels=told), tmp_path / f"told {told}"
        training.train(config, out, dataset.from_arrays(x, labels))
        if told:
            with pytest.raises(ValueError, match=r"labels .*, got .*labels .*give the data of the run"):
                training.train(config, out, dataset.from_arrays(x, 1 - labels))
        else:
            training.train(config, out, dataset.from_arrays(x, 1 - labels))


@pytest.mark.slow
def test_a_run_goes_on_with_data_that_were_accepted_and_then_holds_to_them(tmp_path):
    x = np.random.default_rng(0).normal(size=(90, 2)).astype(np.float32)
    one, other = dataset.from_arrays(x), dataset.from_arrays(x + 1e-3)
    few, more, most = (dataclasses.replace(TINY, steps=steps) for steps in (0, 1, 2))
    training.train(few, tmp_path, one)
    with pytest.warns(UserWarning, match="data: this run was started on"):
        training.train(dataclasses.replace(more, accept_data=True), tmp_path, other)
    with pytest.raises(ValueError, match="--accept-data goes on with these"):
        training.train(most, tmp_path, one)
    training.train(most, tmp_path, other)
