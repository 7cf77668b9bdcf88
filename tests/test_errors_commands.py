"""Command lines that cannot work: a message that names the option, no traceback, exit code 2, nothing written.

All of them fail before anything is trained, sampled or measured, so that a slip costs seconds and not the minutes after
which its result cannot be saved.
"""

import numpy as np
import pytest

import gaussdiff as gd
from analysis.__main__ import main as analysis
from training.commands import main as training

# options, and what the message says, in this order, between dots: the option, what was expected, what came, the cure
TRAIN = {
    "": "subcommand",
    "trian": "unrecognized ... trian ... train, sample, evaluate, export",
    "train": "required ... --out",
    "train --out new --colour 1": "unrecognized ... --colour",
    "train --out new --steps x": "--steps ... INT",
    "train --out new --steps 1.5": "--steps ... INT",
    "train --out new --steps -1": "steps: expected an integer of at least 0 ... got -1 ... --steps",
    "train --out new --batch 0": "batch: expected ... got 0 ... --batch",
    "train --out new --learning-rate nan": "learning_rate: expected a finite number ... got nan ... --learning-rate",
    "train --out new --learning-rate inf": "learning_rate: expected a finite number ... got inf ... --learning-rate",
    "train --out new --network resnet": "network: expected one of ... got 'resnet' ... --network",
    "train --out new --data nosuch": "data: expected a known data set ... got 'nosuch' ... digits",
    "train --out new --data=": "data: expected the name of a data set ... got '' ... --data",
    "train --out new --data empty": "data: expected images ... empty ... got none ... --data",
    "train --out new --data text.txt": "data: expected a known data set ... got 'text.txt' ... digits",
    "train --out new --data row.npy": "data: expected images ... got shape (3,) ... x = x[:, None]",
    "train --out new --data one.npy": "data: expected at least 2 samples ... got 1 ... add",
    "train --out new --data none.npy": "data: expected at least 2 samples ... got 0 ... add",
    "train --out new --data huge.npy": "data: expected finite float32 numbers ... got NaN or infinity",
    "train --out new --data words.npy": "data: expected ... got",
    "train --out new --data complex.npy": "data: expected ... got complex",
    "train --out new --data nosuch.npy": "data: expected a file ... nosuch.npy, which is not there ... --data",
    "train --out new --preset nosuch": "preset: expected one of ... got 'nosuch' ... --preset",
    "train --out new --data toy-ring --labels": "labels: expected a data set with labels ... drop --labels",
    "train --out new --data toy-ring --super-resolution 2": "super_resolution: expected images ... shape (2,)",
    "train --out new --data toy-ring --flip": "flip: expected images ... got ... (2,) ... drop --flip",
    "train --out new --data toy-ring --image-size 8": "image_size: expected None ... got 8 ... folder",
    "train --out new --data toy-ring --network unet": "network: a U-Net expects images ... got ... use --network mlp",
    "train --out new --held-out 2": "held_out: expected a number in (0, 1) ... got 2.0 ... --held-out",
    "train --out new --held-out 0.99999": "held_out: expected samples ... got 1797 of 1797 ... --held-out",
    "train --out new --seed -1": "seed: expected an integer in [0, 2**32) ... got -1 ... --seed",
    "train --out new --accumulate 5": "accumulate: expected a divisor of the batch ... got 5 ... change --accumulate",
    "train --out new --objective epsilon": "objective: expected one of ... noise ... got 'epsilon' ... --objective",
    "train --out new --sigma-min 5 --sigma-max 1": "sigma_min: expected less than sigma_max ... got 5.0 and 1.0",
    "train --out new --sigma-data 0": "sigma_data: expected a finite number above 0 ... got 0.0 ... --sigma-data",
    "train --out new --ema-half-lives 0": "ema_half_lives: expected ... got (0.0,) ... --ema-half-lives",
    "train --out new --channel-mult": "channel_mult: expected ... got () ... --channel-mult",
    "train --out new --dtype float16": "dtype: expected one of float32, bfloat16, got 'float16'",
    "train --out new --levels uniform-time --schedule preserving --schedule-parameters 20 0.1": (
        "schedule_parameters: beta_min, beta_max: expected 0 < beta_min <= beta_max, got 20 and 0.1 ... 0.1 and 20"
    ),
    "train --out new --levels uniform-time --schedule cosine --schedule-parameters -1": (
        "schedule_parameters: offset: expected >= 0 and finite, got -1 ... 0.008"
    ),
    "train --out text.txt": "out: expected a folder ... got text.txt, where text.txt is a file ... --out",
    "train --out text.txt/run": "out: expected a folder ... got text.txt/run, where text.txt is a file ... --out",
    "train --out RUN --data digits": "out: ... other settings ... data: toy-gaussian -> digits ... another --out",
    "sample": "required ... --run",
    "sample --run RUN --out s.npz --n 0": "n, steps: expected at least 1, got 0 ... raise --n",
    "sample --run RUN --out s.npz --n x": "--n ... INT",
    "sample --run RUN --out s.npz --steps 0": "n, steps: expected at least 1 ... raise --n or --steps",
    "sample --run RUN --out s.npz --seed -1": "seed: expected an integer in [0, 2**32) ... got -1",
    "sample --run RUN --out s.npz --seed 1099511627776": "seed: expected an integer ... got 1099511627776",
    "sample --run RUN --out s.npz --label 0": "label: ... trained without labels; train with --labels",
    "sample --run RUN --out s.npz --guidance 2": "guidance: expected 1 without a label ... got 2.0 ... drop --guidance",
    "sample --run RUN --out s.npz --guidance nan": "guidance: expected 1 ... got nan ... drop --guidance",
    "sample --run RUN --out s.npz --weights best": "weights: expected one of ema, params ... got 'best' ... --weights",
    "sample --run RUN --out s.npz --recipe nosuch.json": "recipe: expected a file ... nosuch.json ... analysis recipe",
    "sample --run RUN --out s.npz --recipe empty": "recipe: expected a file ... got empty ... analysis recipe",
    "sample --run RUN --out s.npz --recipe text.txt": "path: expected a file that gd.save_recipe wrote ... text.txt",
    "sample --run RUN --out s.txt": "out: expected a name that ends in .npz, got s.txt ... --out to s.npz",
    "sample --run RUN --out=": "out: expected a name that ends in .npz, got . ... --out",
    "sample --run RUN --out text.txt/s.npz": "out: expected a folder ... text.txt is a file ... --out",
    "sample --run nosuch --out s.npz": "path (--run): expected the folder of a run ... nosuch ... training train",
    "sample --run empty --out s.npz": "path (--run): expected the folder of a run ... empty ... training train",
    "sample --run text.txt --out s.npz": "path (--run): ... text.txt is no whole safetensors file",
    "evaluate --run RUN --samples 3": "samples: expected 0 ... or at least 4, got 3 ... --samples",
    "evaluate --run RUN --likelihoods 1": "likelihoods: expected 0 ... or at least 2, got 1 ... --likelihoods",
    "evaluate --run RUN --probes 1": "probes: expected at least 2, got 1 ... --probes",
    "evaluate --run RUN --chain 0": "chain: expected at least 1, got 0 ... --chain",
    "evaluate --run RUN --seed -1": "seed: expected an integer ... got -1",
    "evaluate --run RUN --weights x": "weights: expected one of ... got 'x' ... --weights",
    "evaluate --run RUN --features nosuch.py:f": "features: ... nosuch.py",
    "evaluate --run RUN --features text.txt": "features: ... text.txt",
    "evaluate --run RUN --out empty": "out: expected the name of a file, got empty, a folder ... --out",
    "evaluate --run RUN --out text.txt/e.json": "out: expected a folder ... text.txt is a file ... --out",
    "evaluate --run nosuch": "path (--run): expected the folder of a run ... nosuch",
    "export --run RUN --out w.npz": "out: expected a name that ends in .safetensors, got w.npz ... --out",
    "export --run RUN --out empty": "out: expected a name that ends in .safetensors, got empty ... --out",
    "export --run RUN --out text.txt/w.safetensors": "out: expected a folder ... text.txt is a file ... --out",
    "export --run RUN --out w.safetensors --weights x": "weights: expected one of ... got 'x' ... --weights",
}
ANALYSIS = {
    "": "report, experiment, compare",
    "raport": "raport ... report",
    "report": "required ... --run",
    "report --run nosuch": "path (--run): expected the folder of a run ... nosuch ... training train",
    "report --run text.txt": "path (--run): ... text.txt is no whole safetensors file",
    "report --run RUN --starts 1": "starts: expected at least 2, got 1 ... --starts",
    "report --run RUN --starts x": "--starts ... INT",
    "report --run RUN --steps 1": "steps: expected at least 2, got 1 ... --steps",
    "report --run RUN --components 1": "components: expected at least 2, got 1 ... --components",
    "report --run RUN --experiments Z9": "name: expected one of A1 ... got 'Z9'",
    "report --run RUN --seed -1": "seed: expected an integer in [0, 2**32) ... got -1 ... --seed",
    "report --run RUN --seed 1180591620717411303424": "seed: expected an integer ... got 1180591620717411303424",
    "report --run RUN --sigma-min 0": "sigma_min, sigma_max: expected 0 < sigma_min ... got 0 and 80 ... 0.01",
    "report --run RUN --sigma-min 100": "sigma_min, sigma_max: expected ... got 100 and 80 ... 0.01 and 80",
    "report --run RUN --sigma-max nan": "sigma_min, sigma_max: expected ... got 0.01 and nan ... 0.01 and 80",
    "report --run RUN --out text.txt": "out: expected a folder ... text.txt is a file ... --out",
    "report --run RUN --out text.txt/x": "out: expected a folder ... text.txt is a file ... --out",
    "experiment Z1 --run RUN": "name: expected one of A1 ... got 'Z1'",
    "experiment A1": "required ... --run",
    "experiment A1 --run nosuch": "path (--run): expected the folder of a run ... nosuch",
    "experiment A1 --run RUN --seed -5": "seed: expected an integer ... got -5 ... --seed",
    "experiment A1 --run RUN --out text.txt": "out: expected a folder ... text.txt is a file ... --out",
    "compare": "runs: expected two or more ... got 0",
    "compare RUN": "runs: expected two or more ... got 1",
    "compare RUN RUN": "runs: expected different folders ... got",
    "compare RUN nosuch": "path (--run): expected the folder of a run ... nosuch",
    "compare RUN empty --out text.txt": "out: expected a folder ... text.txt is a file ... --out",
    "solvers": "data, spectrum: expected one of the two, got neither ... --data",
    "solvers --data digits --spectrum row.npy": "data, spectrum: expected one of the two, got both ... --data",
    "solvers --data=": "data: expected the name of a data set ... got '' ... --data",
    "solvers --data nosuch": "data: expected a known data set ... got 'nosuch' ... digits",
    "solvers --spectrum nosuch.npy": "spectrum: expected a .npy file ... got nosuch.npy, which is none ... --spectrum",
    "solvers --spectrum text.txt": "spectrum: expected a .npy file of numbers, got text.txt ... np.save",
    "solvers --spectrum negative.npy": "spectrum: expected variances >= 0 ... got -1 ... Leave",
    "solvers --spectrum nan.npy": "spectrum: expected variances >= 0 and finite, got nan ... Leave",
    "solvers --spectrum words.npy": "spectrum: expected real numbers, got <U1 ... np.save",
    "solvers --spectrum complex.npy": "spectrum: expected variances of shape (K,), got (3, 1) ... eigvalsh",
    "solvers --spectrum one.npy": "spectrum: expected variances of shape (K,), got (1, 4) ... eigvalsh",
    "solvers --spectrum row.npy --calls 0": "calls: expected integers >= 1 ... got (0,) ... model calls",
    "solvers --spectrum row.npy --calls": "calls: expected integers >= 1 ... got () ... model calls",
    "solvers --spectrum row.npy --calls -3 5": "calls: expected integers >= 1 ... got (-3, 5) ... model calls",
    "solvers --spectrum row.npy --calls x": "--calls ... INT",
    "solvers --data digits --rank 0": "rank: expected an integer from 1 to D = 64, got 0 ... Leave it out",
    "solvers --data toy-ring --image-size 8": "image_size: expected None ... got 8 ... folder",
    "solvers --spectrum row.npy --out text.txt": "out: expected a folder ... text.txt is a file ... --out",
    "recipe": "required ... --calls",
    "recipe --calls 4": "data, run: expected one of the two, got neither ... --run",
    "recipe --calls 1 --data digits": "calls: expected at least 2, got 1 ... --calls",
    "recipe --calls 4 --data digits --run RUN": "data, run: expected one of the two, got both ... --run",
    "recipe --calls 4 --run nosuch": "path (--run): expected the folder of a run ... nosuch",
    "recipe --calls 4 --data=": "data: expected the name of a data set ... got '' ... --data",
    "recipe --calls 4 --data digits --points 1": "points: expected at least 2, got 1 ... --points",
    "recipe --calls 4 --data digits --descent -1": "descent: expected at least 0, got -1 ... --descent",
    "recipe --calls 4 --data digits --seed -1": "seed: expected an integer ... got -1 ... --seed",
    "recipe --calls 4 --data digits --out x.txt": "out: expected a name that ends in .json, got x.txt ... to x.json",
    "recipe --calls 4 --data digits --out text.txt/r.json": "out: expected a folder ... text.txt is a file ... --out",
    "recipe --calls 4 --run RUN --held-out 0.3": "held_out: expected none beside run ... got 0.3 ... Leave out",
    "accelerate": "required ... --run",
    "accelerate --run RUN --calls 1": "calls: expected numbers of at least 3, got (1,) ... --calls",
    "accelerate --run RUN --calls": "calls: expected numbers of at least 3, got () ... --calls",
    "accelerate --run RUN --budget nan": "budget: expected a number above 0, got nan ... Leave it out",
    "accelerate --run RUN --quality fid": "fid ... --quality ... distance",
    "accelerate --run RUN --tried 0": "tried: expected at least 1, got 0 ... --tried",
    "accelerate --run RUN --seed -1": "seed: expected an integer ... got -1 ... --seed",
    "accelerate --run RUN --recipes nosuch.json": "recipes: expected files of recipes, got nosuch.json ... --recipes",
    "accelerate --run RUN --recipes text.txt": "path: expected a file that gd.save_recipe wrote ... text.txt",
    "accelerate --run RUN --out text.txt": "out: expected a folder ... text.txt is a file ... --out",
    "accelerate --run nosuch": "path (--run): expected the folder of a run ... nosuch",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files that are not what they are given for."""
    here = tmp_path_factory.mktemp("wrong")
    (here / "empty").mkdir()
    (here / "text.txt").write_text("hello")
    rng = np.random.default_rng(0)
    arrays = {
        "row": np.array([3.0, 1.0, 0.1]), "negative": np.array([3.0, -1.0]), "nan": np.array([3.0, np.nan]),
        "words": np.array(["a", "b"]), "complex": np.ones((3, 1)) * 1j, "one": np.ones((1, 4)),
        "none": np.zeros((0, 4)), "huge": rng.normal(size=(50, 4)) * 1e300,
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(here / f"{name}.npy", array)
    gd.save_recipe(here / "recipe.json", gd.Heun(), gd.grids.karras(4))
    return here


def told(main, options: str, trained, capsys) -> str:
    """What a command says that exits with 2, on one line."""
    arguments = [str(trained) if word == "RUN" else word for word in options.split()]
    try:
        code = main(arguments)
    except SystemExit as exit:  # of the parser
        code = exit.code
    message = capsys.readouterr().err
    assert code == 2, message
    assert "Traceback" not in message
    return " ".join(message.replace("│", " ").split())


CASES = [(training, *row) for row in TRAIN.items()] + [(analysis, *row) for row in ANALYSIS.items()]


@pytest.mark.parametrize(("main", "options", "says"), CASES, ids=[f"{m.__module__} {o}" for m, o, _ in CASES])
def test_a_command_that_cannot_work_says_so_at_once(
    main, options, says, folder, trained, capsys, monkeypatch, unchecked
):
    monkeypatch.chdir(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    message, place = told(main, options, trained, capsys), 0
    for words in says.split(" ... "):
        place = message.lower().find(words.lower(), place)
        assert place >= 0, f"{words!r} is not in its place in {message!r}"
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
