"""The tutorials: their notebooks are in step with the texts beside them, and run from top to bottom without network."""

import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parent.parent
TEXTS = sorted((ROOT / "colab").glob("*.py"))
sys.path.append(str(ROOT / "tools"))

import notebooks  # noqa: E402

# Five minutes are promised; the quick mode has to leave room for a machine that does other work.
SECONDS = 200

NO_NETWORK = """
import socket

def refuse(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a tutorial reached for the network: {address}")
    return connect(self, address)

connect, socket.socket.connect = socket.socket.connect, refuse
"""


def test_there_is_a_tutorial():
    assert TEXTS


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_notebook_has_the_cells_of_its_text(text):
    assert notebooks.in_step(text), f"{text.name} and its notebook differ: run make notebooks"


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_notebook_is_stored_as_it_ran(text):
    stored = text.with_suffix(".ipynb")
    assert stored.stat().st_size < 1_000_000
    notebook = nbformat.read(stored, 4)
    nbformat.validate(notebook)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert not re.search(r"/(?:home|root|work|tmp|Users)/", stored.read_text()), "a machine's path was stored"


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_installing_comes_first_and_replaces_nothing(text):
    code = [cell.source for cell in notebooks.read(text).cells if cell.cell_type == "code"]
    assert "address:install" in code[0]
    assert 'find_spec("gaussdiff") is None' in code[0]
    assert not re.search(r"pip install[^\n]* (?:-U|--upgrade)", "\n".join(code))
    setting = code[0].index("XLA_PYTHON_CLIENT_PREALLOCATE")
    assert setting >= 0
    assert "import jax" not in code[0][:setting]


@pytest.mark.slow
@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_tutorial_runs_in_its_quick_mode_without_network(text, tmp_path, monkeypatch):
    monkeypatch.setenv("GAUSSDIFF_QUICK", "1")
    for name in ("JAX_ENABLE_X64", "JAX_NUMPY_RANK_PROMOTION"):
        monkeypatch.delenv(name, raising=False)
    notebook = notebooks.read(text)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(NO_NETWORK))
    started = time.perf_counter()
    notebooks.execute(notebook, tmp_path, timeout=SECONDS)
    assert time.perf_counter() - started < SECONDS


def test_the_network_block_blocks():
    code = NO_NETWORK + "socket.create_connection(('192.0.2.1', 80), timeout=5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "reached for the network" in done.stderr
