"""Compiled code between runs: the second run compiles nothing; the folder can be moved, switched off, full or lost."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jaxlib
import pytest

from analysis.__main__ import main as analysis
from training import cache, program
from training.commands import main as training

OURS = {"JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"}  # set by the tests themselves
SMALL = {"data": "toy-ring", "network": "mlp", "channels": 8, "batch": 32, "steps": 2, "checkpoint-every": 1}
TRAIN = ["train", *(f"--{name}={value}" for name, value in SMALL.items())]


def run(*arguments: str | Path, **variables: str) -> str:
    """Run `python -m training` as its user would; its messages, with those of jax on what it compiles."""
    env = {name: value for name, value in os.environ.items() if name not in OURS}
    env |= {"JAX_LOG_COMPILES": "1"} | variables
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stderr


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "train.jsonl").read_text().splitlines()]


@pytest.fixture
def restored(monkeypatch):
    """JAX without a folder of the tests' own, and afterwards as it was."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs", "jax_enable_compilation_cache")
    before = {name: jax.config.values[name] for name in names}
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.delenv(cache.VARIABLE, raising=False)
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.mark.slow
def test_the_second_run_compiles_nothing_that_took_long_and_computes_the_same_bits(tmp_path):
    caches = {"XDG_CACHE_HOME": str(tmp_path / "caches")}
    logs = [run(*TRAIN, "--out", tmp_path / name, **caches) for name in ("first", "second")]
    (folder,) = (tmp_path / "caches" / "gaussdiff").iterdir()
    assert folder.name == cache.key()
    for name in ("jit_add_microbatch", "jit_update_by", "jit_draw"):
        assert len(list(folder.glob(f"{name}-*-cache"))) == 1
        assert [f"cache hit for '{name}'" in log for log in logs] == [False, True]
    log = run(*TRAIN, program.NO_CACHE, "--out", tmp_path / "without", XDG_CACHE_HOME=str(tmp_path / "none"))
    assert "cache hit" not in log
    assert not (tmp_path / "none").exists()
    assert losses(tmp_path / "first") == losses(tmp_path / "second") == losses(tmp_path / "without")


def test_the_folder_is_named_by_the_processor_and_by_the_version_of_jaxlib(monkeypatch):
    names = {cache.key()}
    assert cache.key() in names
    monkeypatch.setattr(jaxlib, "__version__", "0.0.0")
    names.add(cache.key())
    monkeypatch.setattr(cache, "processor", lambda: "flags : sse2")
    names.add(cache.key())
    assert len(names) == 3


def test_the_processor_is_known_by_its_features():
    assert cache.processor().strip()
    if sys.platform == "linux":
        assert any(line.startswith(("flags", "Features", "isa")) for line in cache.processor().splitlines())
        assert "MHz" not in cache.processor(), "which changes from one moment to the next"


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/somewhere"}, "/somewhere"),
        ("linux", {"XDG_CACHE_HOME": "relative", "HOME": "/me"}, "/me/.cache"),
        ("linux", {"HOME": "/me"}, "/me/.cache"),
        ("darwin", {"HOME": "/me"}, "/me/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local"),
    ],
)
def test_each_system_has_its_place(system, variables, expected, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", system)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache.user_folder() == Path(expected)


def test_a_variable_moves_it_and_switches_it_off(tmp_path, monkeypatch, restored):
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "mine"))
    assert cache.enable() == tmp_path / "mine" / cache.key()
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "mine" / cache.key())
    assert list((tmp_path / "mine" / cache.key()).iterdir()) == []
    monkeypatch.setenv(cache.VARIABLE, "off")
    assert cache.enable() is None
    assert not jax.config.values["jax_enable_compilation_cache"]


def test_a_folder_that_was_set_for_jax_stays(tmp_path, monkeypatch, restored):
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "theirs"))
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "mine"))
    assert cache.enable() == tmp_path / "theirs"
    assert jax.config.values["jax_compilation_cache_dir"] == str(tmp_path / "theirs")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["a file in its place", "no room"])
def test_where_it_cannot_be_written_one_line_says_so_and_the_program_goes_on(
    what, tmp_path, monkeypatch, capsys, restored
):
    if what == "no room":
        monkeypatch.setattr(cache.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    else:
        (tmp_path / "mine").write_text("a file")
    monkeypatch.setenv(cache.VARIABLE, str(tmp_path / "mine"))
    commands = []
    code = program.run(lambda arguments: lambda: commands.append(arguments), ["go"], interrupted="", memory_cure="")
    assert (code, commands) == (0, [["go"]])
    message = capsys.readouterr().err
    assert message.startswith("compiled code is not kept: ")
    assert "set GAUSSDIFF_CACHE to another folder, or to off" in message
    assert message.count("\n") == 1
    assert jax.config.values["jax_compilation_cache_dir"] is None


def test_what_was_used_least_recently_goes_first_whatever_its_key(tmp_path):
    times = {"new/c": 300, "old/a": 100, "new/b": 200}
    for name, time in times.items():
        path = tmp_path / f"{name}-cache"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(10))
        os.utime(path, (time, time))
    cache.prune(tmp_path, 30)
    assert len(list(tmp_path.glob("*/*"))) == 3
    cache.prune(tmp_path, 29)
    assert sorted(path.name for path in tmp_path.glob("*/*")) == ["b-cache", "c-cache"]
    cache.prune(tmp_path, 9)
    assert not list(tmp_path.glob("*/*"))


def test_both_programs_say_how_to_do_without(capsys):
    for main in (training, analysis):
        with pytest.raises(SystemExit):
            main(["--help"])
        assert program.NO_CACHE in capsys.readouterr().out
