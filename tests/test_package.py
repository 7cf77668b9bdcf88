"""Who may import whom, what importing the engine does, and what the wheel holds."""

import ast
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import gaussdiff as gd

ROOT = Path(__file__).parent.parent

# The rooms, and what each may not know of.
FORBIDDEN = {
    "gaussdiff": {
        *("training", "analysis", "benchmarks", "tests", "flax", "optax", "orbax", "tensorflow_datasets", "tfds"),
        *("tensorflow", "torch", "matplotlib", "sklearn", "scipy", "tyro", "rich", "safetensors"),
    },
    "training": {"analysis", "benchmarks", "tests"},
    "analysis": {"benchmarks", "tests"},
    "benchmarks": {"tests"},
    "colab": {"benchmarks", "tests"},
    "tools": {"gaussdiff", "training", "analysis", "benchmarks", "tests", "jax", "numpy"},
}

# Each file of the engine imports only files that stand before it.
READING_ORDER = [
    *(
        "progress",
        "numerics",
        "schedules",
        "conversions",
        "denoiser",
        "thresholding",
        "guidance",
        "posterior",
        "spectra",
    ),
    *("gaussian", "diagonal", "modes", "trajectory", "exact", "divergence", "clusters", "mixture", "moments", "em"),
    *("conditioning", "softmax", "empirical", "bandwidth", "streamed", "neighbours", "local", "univariate"),
    *("finite_data", "learning", "grids", "samplers.brownian", "samplers.base", "samplers.ddim", "samplers.ancestral"),
    *("samplers.euler", "samplers.heun", "samplers.edm", "samplers.singlestep", "samplers.dpmsolver"),
    *("samplers.dpmsolverpp2s", "samplers.multistep", "samplers.adams", "samplers.deis", "samplers.dpmsolverpp"),
    *("samplers.linear_multistep", "samplers.unipc", "samplers.exponential", "samplers.dpmsolverppsde"),
    *("samplers.euler_maruyama", "samplers.langevin", "samplers.predictor_corrector", "samplers.afs"),
    *("samplers.gaussian_exact", "samplers.switch", "samplers.batch", "samplers", "spectral", "table"),
    *("descent", "recipes", "gits", "search", "integrate", "stochastic", "likelihood", "elbo", "losses"),
    *("metrics.explained", "metrics.frechet", "metrics.kernels", "metrics.slices", "metrics.neighbours", "metrics"),
    "files",
]

# What only the programs need; the wheel has to work where none of it is installed.
EXTRAS = [
    *("flax", "optax", "orbax", "tensorflow_datasets", "tensorflow", "matplotlib", "sklearn", "tyro", "rich"),
    *("safetensors", "pandas", "torch"),
]


def imported_names(path: Path) -> set[str]:
    """Every dotted name that a file imports, at any depth of its code; `from a import b` gives a and a.b.

    A relative import stays inside the file's own room and says nothing here.
    """
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def engine_modules() -> dict[str, Path]:
    files = {path: path.relative_to(ROOT / "gaussdiff").with_suffix("") for path in (ROOT / "gaussdiff").rglob("*.py")}
    names = {path: ".".join(part for part in file.parts if part != "__init__") for path, file in files.items()}
    return {name: path for path, name in names.items() if name}


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_point_one_way(room):
    for path in (ROOT / room).rglob("*.py"):
        tops = {name.split(".")[0] for name in imported_names(path)}
        assert not tops & FORBIDDEN[room], f"{path.relative_to(ROOT)} imports {sorted(tops & FORBIDDEN[room])}"


def test_the_import_reader_sees_imports_inside_functions(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import a.b\ndef f():\n    from c import d\n    if True:\n        import e as f\n")
    assert imported_names(path) == {"a.b", "c", "c.d", "e"}


def test_every_engine_file_stands_in_the_reading_order():
    assert sorted(engine_modules()) == sorted(READING_ORDER)


def test_engine_imports_are_written_in_full():
    for path in engine_modules().values():
        levels = {node.level for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        assert levels <= {0}, f"{path.relative_to(ROOT)} has a relative import, which the reading order cannot see"


@pytest.mark.parametrize("module", READING_ORDER)
def test_engine_files_import_only_what_stands_before_them(module):
    names = imported_names(engine_modules()[module])
    used = {name.removeprefix("gaussdiff.") for name in names if name.startswith("gaussdiff.")} & set(READING_ORDER)
    # a package counts as its own files: `from gaussdiff.samplers.base import ...` also names gaussdiff.samplers.base
    later = set(READING_ORDER[READING_ORDER.index(module) :])
    assert not used & later, f"gaussdiff/{module} imports {sorted(used & later)}, which stand after it"


def run(code: str, *flags: str, **env: str) -> str:
    """stdout of a fresh interpreter that runs `code` outside this checkout's working directory."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=900, cwd="/", env=kept | env
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_import_starts_no_backend_and_changes_no_setting():
    code = """
import jax
before = dict(jax.config.values)
import gaussdiff
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "a backend was started"
changed = {name for name in before if jax.config.values[name] != before[name]}
assert not changed, changed
assert not jax.config.jax_enable_x64
print(gaussdiff.__version__)
"""
    assert run(code) == gd.__version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_holds_one_import_package(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names}
    assert tops == {"gaussdiff", f"gaussdiff-{gd.__version__}.dist-info"}
    packed = {name for name in names if name.startswith("gaussdiff/")}
    here = {str(path.relative_to(ROOT)) for path in (ROOT / "gaussdiff").rglob("*.py")}
    assert {name for name in packed if name.endswith(".py")} == here
    assert any(name.endswith("LICENSE") for name in names)


def test_the_wheel_states_its_version_and_needs_no_extra(wheel):
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(f"gaussdiff-{gd.__version__}.dist-info/METADATA").decode()
    assert f"\nVersion: {gd.__version__}\n" in metadata
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.MULTILINE)
    assert sorted(required) == ["diffrax", "equinox", "jax", "jaxtyping", "lineax", "numpy"]
    # oldest versions only: an upper bound would force users to change what they have
    assert not re.findall(r"^Requires-Dist: [^;\n]*(?:<|==|~=)", metadata, re.MULTILINE)


@pytest.mark.slow
def test_the_wheel_samples_where_only_the_engine_is_installed(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r} + ["training", "analysis"]:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, {str(tmp_path)!r})
import jax, jax.numpy as jnp
import gaussdiff as gd
assert gd.__file__.startswith({str(tmp_path)!r}), gd.__file__
law = gd.Gaussian.from_moments(jnp.zeros(2), jnp.diag(jnp.array([4.0, 1.0])))
levels = gd.grids.karras(8)
x = gd.sample_prior(jax.random.key(0), (2,), levels[0])
path = gd.sample(gd.Heun(), law, x, levels)
assert path.x.shape == (9, 2) and jnp.isfinite(path.x).all()
flow = gd.probability_flow(law, gd.VarianceExploding(), x, jnp.array([80.0, 1.0]))
assert jnp.isfinite(flow.x).all()
print(gd.__version__, sorted(set({EXTRAS!r}) & set(sys.modules)))
"""
    assert run(code, "-I") == f"{gd.__version__} []"
