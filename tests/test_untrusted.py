"""Files of unknown origin: no code of theirs runs, no size they claim is believed, and every error names the file."""

import ast
import contextlib
import gc
import io
import json
import os
import random
import re
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import prepared_sets
import pytest

import gaussdiff as gd
import training
from analysis.solvers import table
from benchmarks import corruption, fuzz
from gaussdiff import archives
from training.data import dataset
from training.page import journal, pictures
from training.storage import checkpoint, lock

HUGE = 100 * 10**9  # bytes that a small file claims
SLOW = {"settings", "weights", "weights' header", "metrics", "prepared records", "prepared features"}


@cache
def prepared() -> tuple[bytes, bytes]:
    """The records and the features of a set as tensorflow-datasets prepares it."""
    with tempfile.TemporaryDirectory() as place:
        made, _ = prepared_sets.write(Path(place), "case")
        return prepared_sets.shard(made, "train").read_bytes(), (made / "features.json").read_bytes()


def write_records(path: Path, records: bytes) -> None:
    prepared_sets.shard(prepared_sets.write(path.parent, path.name)[0], "train").write_bytes(records)


def write_features(path: Path, features: bytes) -> None:
    (prepared_sets.write(path.parent, path.name)[0] / "features.json").write_bytes(features)


def read_prepared(path: Path) -> None:
    dataset.load(path.name, data_dir=str(path.parent))


READERS = fuzz.READERS | {
    "prepared records": fuzz.Reader(lambda: [prepared()[0]], "case", read_prepared, write_records),
    "prepared features": fuzz.Reader(lambda: [prepared()[1]], "case", read_prepared, write_features),
}


def header(shape: str, dtype: str = "<f4") -> bytes:
    """The head of an .npy file that claims this shape."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def archive(member: bytes, compressed: bool = False, claims: int | None = None) -> bytes:
    """An .npz whose member is `member`; claims: the size that its directory says that it has."""
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as made:
            made.writestr("images.npy", member)
            made.writestr("gaussdiff.json.npy", member)
            for info in made.infolist() if claims else ():
                info.file_size = claims
                info.compress_size = info.compress_size if compressed else claims
        return file.getvalue()


def picture(side: int) -> bytes:
    """A PNG whose header, with its right checksum, claims side x side pixels."""
    size = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = [size, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND"]
    chunks = [struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def pickled() -> bytes:
    """An .npy file of Python objects, which unpickling would run."""
    with io.BytesIO() as file:
        np.save(file, np.array([os.system], dtype=object), allow_pickle=True)
        return file.getvalue()


def recipe(dtype: str = "float32", values: str = "[1.0]") -> bytes:
    head = '{"gaussdiff": 1, "sampler": {}, "levels": {}, "arrays": {"levels.sigma": {"dtype": "%s", "values": %s}}}'
    return (head % (dtype, values)).encode()


DEEP = b"[" * 10**6
CLAIMS = {
    "shape of an npy": ("x.npy", header(f"({HUGE // 4},)") + bytes(64)),
    "shape beyond integers": ("x.npy", header("(4294967296, 4294967296, 4)") + bytes(64)),
    "negative shape": ("x.npy", header("(-4, -4)") + bytes(64)),
    "objects in an npy": ("x.npy", pickled()),
    "appended to an npy": ("x.npy", header("(4, 4)") + bytes(65)),
    "shape in an npz": ("x.npz", archive(header(f"({HUGE // 4},)") + bytes(64))),
    "shape of nothing in an npz": ("x.npz", archive(header(f"({HUGE},)", "|V0"))),
    "size of a stored member": ("x.npz", archive(header("(4, 4)") + bytes(64), claims=HUGE)),
    "size of a compressed member": ("x.npz", archive(header(f"({HUGE // 4},)") + bytes(9), True, claims=HUGE)),
    "objects in an npz": ("x.npz", archive(pickled())),
    "pixels": ("set/x.png", picture(200_000)),
    "program for Ghostscript": ("set/x.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"),
    "depth of a law": ("law.npz", archive(header("()", f"<U{len(DEEP)}") + DEEP.decode().encode("utf-32-le"))),
    "depth of a recipe": ("x.json", DEEP),
    "size of a number": ("x.json", recipe(f"V{HUGE}")),
    "number beyond integers": ("x.json", recipe("int64", "[%s]" % ("9" * 4000))),
    "ragged numbers": ("x.json", recipe(values="[[1], [2, 3]]")),
    "length of a header": ("x.safetensors", struct.pack("<Q", HUGE) + b"{}"),
    "depth of a header": ("x.safetensors", struct.pack("<Q", len(DEEP)) + DEEP),
    "sizes of tensors": (
        "x.safetensors",
        struct.pack("<Q", 62) + b'{"a":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (HUGE // 4, HUGE),
    ),
}


def load_data(path):
    return dataset.load(str(path))


READS = {"npy": load_data, "npz": load_data, "png": load_data, "json": gd.load_recipe, "safetensors": training.load}


@pytest.mark.parametrize("what", CLAIMS)
def test_what_a_file_claims_is_refused_at_once_and_the_file_is_named(what, tmp_path):
    name, content = CLAIMS[what]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    read = gd.load if name == "law.npz" else READS[path.suffix[1:]]
    began = time.process_time()
    with pytest.raises(ValueError, match=rf"expected .*{path.name}|{path.name} is no whole"):
        read(path.parent if path.parent.name == "set" else path)
    assert time.process_time() - began < 1


@pytest.mark.parametrize("read", [gd.load, lambda path: table.read_spectrum(Path(path)), gd.load_recipe])
def test_a_file_of_absurd_size_or_without_an_end_is_refused_unread(read, tmp_path):
    with open(tmp_path / "sparse", "wb") as file:
        file.truncate(HUGE)
    os.mkfifo(tmp_path / "pipe")
    for name in ("sparse", "pipe"):
        with pytest.raises(ValueError, match=name):
            read(str(tmp_path / name))


def test_the_error_for_an_archive_says_how_much_it_would_expand_to(tmp_path):
    (tmp_path / "x.npz").write_bytes(CLAIMS["size of a compressed member"][1])
    with pytest.raises(archives.UnreadableError, match=r"x\.npz .*expand from [\d,]+ to 200,000,000,000 bytes"):
        archives.read_npz(tmp_path / "x.npz")
    np.savez_compressed(tmp_path / "zeros.npz", x=np.zeros((100, 28, 28), np.uint8))  # a thousandth of its size
    assert archives.read_npz(tmp_path / "zeros.npz")["x"].shape == (100, 28, 28)


def test_no_bit_of_a_directory_hides_an_array(tmp_path):
    """Of an archive: zipfile passes over members whose entry is damaged, and labels would be missing in silence."""
    path = tmp_path / "x.npz"
    np.savez(path, images=np.zeros((6, 4, 4), np.uint8), labels=np.arange(6))
    content = path.read_bytes()
    for place in range(content.index(b"PK\1\2"), len(content)):
        for bit in range(8):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            with contextlib.suppress(archives.UnreadableError):
                assert archives.names(path) == ["images", "labels"]


def test_fields_that_do_not_fit_together_are_refused_even_where_the_checksum_is_right(tmp_path):
    path = tmp_path / "law.npz"
    x = np.random.default_rng(0).normal(size=(9, 2, 2)).astype(np.float32)
    for law, name, changed in (
        (gd.Gaussian.from_samples(x, 2), "eigvals", np.ones(1, np.float32)),
        (gd.Gaussian.from_samples(x, 2), "mean", np.ones((3, 3), np.float32)),
        (gd.Diagonal.from_samples(x), "eigvals", np.ones(4, np.int32)),
        (gd.Empirical(x), "half_norms", np.ones(7, np.float32)),
    ):
        gd.save(path, law)
        arrays = archives.read_npz(path)
        head = json.loads(str(arrays.pop("gaussdiff.json")))
        del head["sha256"]
        arrays[name] = changed
        signed = json.dumps({**head, "sha256": archives.digest(head, arrays)})
        np.savez(path, **{"gaussdiff.json": np.array(signed)}, **arrays)
        with pytest.raises(ValueError, match=rf"law\.npz: expected floats of shape .* of {type(law).__name__}"):
            gd.load(path)


def test_a_stack_of_laws_is_still_a_law(tmp_path):
    x = np.random.default_rng(0).normal(size=(9, 2))
    gd.save(tmp_path / "stack.npz", gd.Empirical.from_labels(x, np.arange(9) % 3))
    assert gd.load(tmp_path / "stack.npz").mean.shape == (3, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("piece", "changed"),
    [
        (b'"1"\n', b'"4294967295"\n'),  # 68 GB in one image
        (b"class_label_feature.ClassLabel", b"video_feature.Video"),  # which needs TensorFlow
        (b"class_label_feature.ClassLabel", b"no_such_feature.X"),
    ],
)
def test_what_the_features_of_a_prepared_set_ask_for_is_refused_by_name(piece, changed, tmp_path):
    features = prepared()[1]
    assert piece in features
    assert fuzz.fault(READERS["prepared features"], tmp_path / "case", features.replace(piece, changed)) is None


@pytest.mark.slow
def test_a_prepared_set_imports_no_code_of_others(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('code of the file was run')")
    monkeypatch.syspath_prepend(tmp_path)
    made, _ = prepared_sets.write(tmp_path / "sets")
    features = made / "features.json"
    features.write_text(features.read_text().replace("tensorflow_datasets.core.features.image_feature.Image", "evil.X"))
    assert "evil.X" in features.read_text()
    with pytest.raises(ValueError, match=r"tiny/1\.0\.0 .*asks for the foreign class evil\.X"):
        dataset.load("tiny", data_dir=str(tmp_path / "sets"))
    assert "evil" not in sys.modules


def test_links_out_of_a_run_are_neither_read_nor_written_through(tmp_path):
    private = tmp_path / "private"
    private.write_text("mine")
    run = tmp_path / "run"
    old, new = (checkpoint.save(run, step, {"a": np.zeros(step)}, {}) for step in (1, 2))
    (new / "state.npz").rename(tmp_path / "state.npz")
    (new / "state.npz").symlink_to(tmp_path / "state.npz")
    with pytest.warns(UserWarning, match=r"step-00000002 \(state\.npz is no file, or a link out of its folder"):
        saved = checkpoint.latest(run)
    assert saved is not None
    assert saved.path == old
    (run / lock.NAME).symlink_to(private)
    with pytest.raises(ValueError, match=r"expected .*run/\.lock to be a file, got a link"), lock.exclusive(run):
        pass
    (run / "train.jsonl").symlink_to(private)
    with (
        journal.opened(run / "train.jsonl", 0, 2, batch=4) as book,
        pytest.raises(OSError, match=r"could not write .*train\.jsonl: Too many levels of symbolic links"),
    ):
        book.note(1, 0.5, 10.0, held_out=None)
    assert private.read_text() == "mine"
    (run / "checkpoints" / ".writing-x").symlink_to(tmp_path)
    checkpoint.clean(run)  # the link, not what it leads to
    assert private.exists()
    assert not (run / "checkpoints" / ".writing-x").is_symlink()


def test_a_checkpoint_under_another_name_is_not_taken_for_that_step(tmp_path):
    """As after a copy of step 1 to the place of step 2: each is whole in itself."""
    old, new = (checkpoint.save(tmp_path, step, {"a": np.zeros(step)}, {}) for step in (1, 2))
    new.rename(tmp_path / "aside")
    old.rename(new)
    (tmp_path / "aside").rename(old)
    with (
        pytest.warns(UserWarning, match=r"step-0000000\d \(it holds step \d: it was renamed or exchanged"),
        pytest.raises(ValueError, match=r"every checkpoint of .* is damaged"),
    ):
        checkpoint.latest(tmp_path)
    assert checkpoint.read(new).step == 1, "named by its path it is what it says"


def test_settings_that_ask_for_more_layers_than_there_are_weights_are_refused(tmp_path):
    """Their network would be built for ever."""
    settings = json.loads(fuzz.READERS["settings"].whole()[0])
    settings["config"]["blocks"] = 10**9
    fuzz.READERS["settings"].write(tmp_path / "run", json.dumps(settings).encode())
    with pytest.raises(ValueError, match=r"step-00000001 .*more layers than its \d+ arrays"):
        training.load(tmp_path / "run")


def test_a_page_shows_no_file_but_the_pictures_of_the_run(tmp_path):
    (tmp_path / "private").write_text("mine")
    (tmp_path / "samples").mkdir()
    good = tmp_path / "samples" / "step-00000001.png"
    good.write_bytes(b"picture")
    (tmp_path / "samples" / "step-00000002.png").symlink_to(tmp_path / "private")
    os.mkfifo(tmp_path / "samples" / "step-00000003.png")
    for name in ("step-x.png", "step-².png", "step-.png"):
        (tmp_path / "samples" / name).write_bytes(b"of somebody else")
    assert pictures.taken(tmp_path / "samples") == {1: good}
    os.mkfifo(tmp_path / "train.jsonl")
    with pytest.raises(ValueError, match=r"train\.jsonl cannot be read: it is no file"):
        journal.rewind(tmp_path / "train.jsonl", 1)


def test_damaged_lines_of_a_journal_are_left_out_and_said(tmp_path):
    path = tmp_path / "train.jsonl"
    good = [json.dumps({"step": step, "loss": 0.5, "images_per_second": 1.0}) for step in (1, 2, 3)]
    bad = ["5", "{}", '{"step": "1"}', "[" * 10**5, '{"step": 2, "loss": NaN, "images_per_second": 1.0}', "\udcff"]
    lines = [good[0], *bad, good[1], good[2], '{"step": 4, "lo']
    path.write_bytes("\n".join(lines).encode(errors="surrogateescape"))
    assert [record["step"] for record in journal.records(path)] == [1, 2, 3]
    with pytest.warns(UserWarning, match=r"train\.jsonl has 6 damaged lines"):
        journal.rewind(path, 2)
    assert path.read_text() == f"{good[0]}\n{good[1]}\n"


def test_sixty_damaged_files_are_read_as_what_they_were_or_refused_by_name():
    counts = corruption.run(60, seed=3)
    assert sum(counts.values()) == 60
    assert corruption.faults(counts) == 0, corruption.table(counts)
    assert {how for _, _, how in counts} >= {corruption.BEFORE, corruption.REFUSED}


def test_the_table_of_damages_can_fail(tmp_path):
    """A reader that takes whatever comes is seen."""
    path = tmp_path / "x"
    path.write_bytes(b"changed")
    believing = corruption.Subject((path,), path.read_bytes, {b"as it was": corruption.RIGHT}, "x")
    assert corruption.outcome(believing) == corruption.WRONG
    nameless = corruption.Subject((path,), lambda: bytes(int("?")), {}, "x.npz")
    assert corruption.outcome(nameless) == corruption.UNNAMED


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in READERS])
def test_changed_files_are_read_or_refused_by_name(name):
    count, faults = fuzz.run(READERS[name], seed=5, seconds=30, most=25)
    assert count
    assert not faults, faults


def test_the_fuzzer_can_fail(tmp_path):
    crashing = fuzz.Reader(lambda: [b"1"], "case", lambda path: [][1])
    assert fuzz.fault(crashing, tmp_path / "case", b"2") == "IndexError('list index out of range')"
    nameless = fuzz.Reader(lambda: [b"1"], "case", lambda path: int("x"))
    assert str(fuzz.fault(nameless, tmp_path / "case", b"2")).startswith("no file named")
    draw = random.Random(0)
    assert len({fuzz.mutated(b'{"a": 12}', draw, [b"other"]) for _ in range(100)}) > 50


@pytest.mark.slow
def test_no_reader_leaves_a_file_open(tmp_path):
    """Whatever comes of it; a file that is closed by the garbage collector has a warning of its own."""
    cases = [(name, content, READS[name.rsplit(".")[-1]]) for name, content in CLAIMS.values()]
    names = ("law", "recipe", "npz", "manifest", "data npz", "data law", "picture", "spectrum", "journal")
    cases += [(fuzz.READERS[name].name, fuzz.READERS[name].whole()[0], fuzz.READERS[name].read) for name in names]
    gc.collect()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for i, (name, content, read) in enumerate(cases):
            path = tmp_path / str(i) / name
            path.parent.mkdir(parents=True)
            path.write_bytes(content)
            with contextlib.suppress(ValueError, OSError):
                read(path)
        gc.collect()
    assert not [each.message for each in said if issubclass(each.category, ResourceWarning)]


def test_no_program_reads_pickles_or_runs_text():
    """By the text of the source, so that a new reader is seen too."""
    root, calls = Path(__file__).parents[1], []
    for path in (each for program in ("gaussdiff", "training", "analysis") for each in root.glob(f"{program}/**/*.py")):
        tree = ast.parse(path.read_text())
        imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not imported & {"pickle", "dill", "shelve", "marshal"}, path
        calls += [(path.name, ast.unparse(node)) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [
        call for call in calls if re.match(r"(eval|exec|__import__)\(", call[1]) or "allow_pickle=True" in call[1]
    ]
    loads = [(name, call) for name, call in calls if call.startswith("np.load(")]
    assert [name for name, _ in loads] == ["archives.py"], "one place reads arrays, within bounds"
    assert "allow_pickle=False" in loads[0][1]
