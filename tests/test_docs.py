"""What the documents say is so: their code runs, their links lead somewhere, their commands exist."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
TEXTS = [*DOCUMENTS, *sorted(ROOT.glob("colab/*.py")), ROOT / "Makefile", ROOT / "pyproject.toml"]
ADDRESS = [sys.executable, str(ROOT / "tools" / "address.py")]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL)


PYTHON = [
    pytest.param(code, id=f"{name(path)}-{i}") for path in DOCUMENTS for i, code in enumerate(blocks(path, "python"))
]


@pytest.mark.slow
@pytest.mark.parametrize("code", PYTHON)
def test_python_blocks_run(code, tmp_path):
    # as a reader would: in a fresh interpreter, in float32
    kept = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=900, cwd=tmp_path, env=kept
    )
    assert done.returncode == 0, done.stderr


def test_there_are_python_blocks_to_run():
    assert PYTHON


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_relative_links_lead_somewhere(path):
    links = re.findall(r"\]\(([^)\s]+)\)", path.read_text())
    for link in links:
        if not re.match(r"https?:|mailto:|#", link):
            target = path.parent / link.split("#")[0]
            assert target.exists(), f"{name(path)} points at {link}, which is not there"


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_no_path_of_one_machine(path):
    found = re.findall(r"(?:^|[\s\"'`(=])(/(?:home|root|work|tmp|Users|mnt|opt)/\S*)", path.read_text())
    assert not found, f"{name(path)} holds {found}"


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_make_targets_that_are_mentioned_exist(path):
    targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    # in code spans, in shell blocks, and wherever a line starts with it
    mentioned = set(re.findall(r"(?:`|^|&& )make ([a-z][\w-]*)", path.read_text(), re.MULTILINE))
    assert mentioned <= targets, f"{name(path)} names {sorted(mentioned - targets)}, the Makefile has {sorted(targets)}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_folders_and_files_in_code_spans_exist(path):
    rooms = "gaussdiff|training|analysis|colab|docs|tests|benchmarks|tools"
    for mention in re.findall(rf"`((?:{rooms})/[\w./-]*)`", path.read_text()):
        assert (ROOT / mention).exists(), f"{name(path)} names {mention}, which is not there"


def test_every_make_target_that_a_person_calls_is_in_its_help():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([\w-]+):(?!=)", makefile, re.MULTILINE)) - {"help", "clean"}
    told = set(re.findall(r"make ([\w-]+)", makefile.split("help:")[1].split("\n\n")[0]))
    assert targets == told


def test_the_workflow_runs_make_targets_on_the_oldest_python():
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    oldest = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert oldest
    assert f'"{oldest[1]}"' in workflow
    assert {"check", "test"} <= set(re.findall(r"run: make ([\w-]+)", workflow))
    assert "permissions:\n  contents: read" in workflow


def test_what_a_push_leaves_out_runs_nightly():
    workflow = (ROOT / ".github" / "workflows" / "nightly.yml").read_text()
    assert "run: make ${{ matrix.target }}" in workflow
    assert "target: [test-all, test-newest, test-colab]" in workflow
    assert re.search(r"schedule:\n +- cron:", workflow)
    assert "permissions:\n  contents: read" in workflow


@pytest.mark.parametrize("target", ["test-newest", "test-colab"])
@pytest.mark.parametrize("command", ["no-such-python", "false"])
def test_without_python_3_13_make_says_what_to_do(copy, target, command):
    shutil.copy(ROOT / "Makefile", copy)
    done = subprocess.run(
        ["make", target, f"PYTHON313={command}"], cwd=copy, capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "expected a command that is Python 3.13" in done.stderr
    assert f"make {target} PYTHON313=/path/to/python3.13" in done.stderr


def test_the_constraints_of_colab_are_within_what_is_promised():
    """A pin below a floor of pyproject.toml could not be installed, one that nothing requires would try nothing."""
    floors = re.findall(r'"([\w-]+)>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    pins = dict(re.findall(r"(?m)^([\w-]+)==([\d.]+)$", (ROOT / "constraints" / "colab.txt").read_text()))

    def number(version: str) -> tuple[int, ...]:
        return tuple(map(int, version.split(".")))

    required = {package: floor for package, floor in floors if package in pins}
    assert pins.keys() - required.keys() == {"jaxlib"}  # which jax requires
    assert all(number(pins[package]) >= number(floor) for package, floor in required.items())


def test_the_address_is_in_step_everywhere():
    done = subprocess.run([*ADDRESS, "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_list_of_public_names_is_in_step():
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "api.py"), "--check"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def functions_of_many_arguments() -> dict[str, tuple[list[str], str]]:
    """Arguments and docstring of the engine's public functions and methods of nine arguments or more."""
    functions = {}
    for path in sorted((ROOT / "gaussdiff").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name[0] != "_":
                arguments = [a.arg for a in (*node.args.args, *node.args.kwonlyargs) if a.arg not in ("self", "cls")]
                if len(arguments) >= 9:
                    functions[f"{name(path)}:{node.name}"] = arguments, ast.get_docstring(node) or ""
    return functions


def test_functions_of_many_arguments_explain_each_in_a_line_of_its_own():
    functions = functions_of_many_arguments()
    assert {"optimal_grid", "sample_batch"} <= {key.split(":")[1] for key in functions}
    for function, (arguments, text) in functions.items():
        lines = re.findall(r"^ {4}(\w+): ", text.partition("Args:\n")[2], re.MULTILINE)
        assert lines == arguments, function


@pytest.fixture
def copy(tmp_path) -> Path:
    """The files that show the address, copied; the repository itself is not touched."""
    for path in (*ROOT.glob("*.md"), ROOT / "pyproject.toml", *ROOT.glob("colab/*"), *ROOT.glob("docs/*.md")):
        if path.is_file():
            target = tmp_path / path.relative_to(ROOT)
            target.parent.mkdir(exist_ok=True)
            shutil.copy(path, target)
    return tmp_path


def set_address(folder: Path, address: str) -> subprocess.CompletedProcess:
    settings = folder / "pyproject.toml"
    settings.write_text(re.sub(r'(?m)^repository = ".*"$', f'repository = "{address}"', settings.read_text()))
    return subprocess.run([*ADDRESS, "--root", str(folder)], capture_output=True, text=True, timeout=60)


def test_an_address_is_written_into_every_text(copy):
    present = {path: path.read_text() for path in copy.rglob("*") if path.is_file()}
    address = "https://github.com/example-owner/example.name"
    assert set_address(copy, address).returncode == 0
    readme = (copy / "README.md").read_text()
    assert f"git clone {address} gaussdiff" in readme
    assert f"git+{address}" in readme
    assert f"{address}/actions/workflows/ci.yml/badge.svg" in readme
    assert f"git clone {address} gaussdiff" in (copy / "CONTRIBUTING.md").read_text()
    assert f'Repository = "{address}"' in (copy / "pyproject.toml").read_text()
    for path in (copy / "colab").glob("*.ipynb"):
        link = f"https://colab.research.google.com/github/example-owner/example.name/blob/main/colab/{path.name}"
        assert link in path.read_text()
        assert link in path.with_suffix(".py").read_text()
        assert f"gaussdiff @ git+{address}" in path.with_suffix(".py").read_text()
    assert not [path for path in present if "<address>" in path.read_text()]
    # and back again, to the letter
    before = re.search(r'(?m)^repository = "(.*)"$', (ROOT / "pyproject.toml").read_text())
    assert before
    set_address(copy, before[1])
    assert {path: path.read_text() for path in present} == present


def test_without_an_address_nothing_pretends_to_work(copy):
    set_address(copy, "")
    texts = {name(ROOT / path.relative_to(copy)): path.read_text() for path in copy.rglob("*") if path.is_file()}
    assert not [file for file, text in texts.items() if "colab.research.google.com" in text or "badge.svg" in text]
    assert "git clone <address> gaussdiff" in texts["README.md"]
    assert "[project.urls]\n" not in texts["pyproject.toml"]


@pytest.mark.parametrize("address", ["github.com/a/b", "https://example.org/a/b", "https://github.com/a/b/"])
def test_an_address_that_colab_cannot_open_is_refused(copy, address):
    done = set_address(copy, address)
    assert done.returncode != 0
    assert "expected https://github.com/OWNER/NAME" in done.stderr


def test_an_unknown_block_is_refused(copy):
    path = copy / "README.md"
    path.write_text(path.read_text() + "\n<!-- address:bagdes -->\n<!-- /address -->\n")
    done = set_address(copy, "")
    assert done.returncode != 0
    assert "README.md: unknown block address:bagdes" in done.stderr
