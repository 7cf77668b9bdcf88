"""Who may import whom and use which names, what importing the engine does, and what the wheel contains."""

import ast
import functools
import graphlib
import importlib
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Collection
from pathlib import Path

import pytest

import gaussdiff as gd
from tools.packages import PACKAGES, package_of

ROOT = Path(__file__).parent.parent

PROGRAMS = ("gaussdiff", "training", "analysis")

# The folders, and what each may not know of.
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

# What only the programs need; the wheel has to work where none of it is installed.
EXTRAS = [
    *("flax", "optax", "orbax", "tensorflow_datasets", "tensorflow", "matplotlib", "sklearn", "tyro", "rich"),
    *("safetensors", "pandas", "torch"),
]


# Underscore names of Python, execnet, JAX and PyTorch that have no other spelling.
FOREIGN = {"_asdict", "_fields", "_make", "_replace", "_exit", "_io", "_cache_size", "_foreach_lerp_"}


def imported_names(path: Path) -> set[str]:
    """Every dotted name that a file imports, at any depth of its code; `from a import b` gives a and a.b."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def modules_in(root: Path, top: str) -> dict[str, Path]:
    """The modules of a folder by dotted name; that of an __init__ is its folder's."""
    names = {path: path.relative_to(root).with_suffix("").parts for path in sorted((root / top).rglob("*.py"))}
    return {".".join(part for part in parts if part != "__init__"): path for path, parts in names.items()}


MODULES = {name: path for top in PROGRAMS for name, path in modules_in(ROOT, top).items()}


def imported_modules(path: Path, modules: Collection[str]) -> set[str]:
    """Which of the modules a file imports; `from a import b` is a.b where that is a module, and otherwise a."""
    used = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            used |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            used |= {name if name in modules else str(node.module) for name in full}
    return used & set(modules)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_imports_point_one_way(room):
    for path in (ROOT / room).rglob("*.py"):
        tops = {name.split(".")[0] for name in imported_names(path)}
        assert not tops & FORBIDDEN[room], f"{path.relative_to(ROOT)} imports {sorted(tops & FORBIDDEN[room])}"


def test_the_import_reader_sees_imports_inside_functions(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import a.b\ndef f():\n    from c import d\n    if True:\n        import e as f\n")
    assert imported_names(path) == {"a.b", "c", "c.d", "e"}
    assert imported_modules(path, {"a.b", "c", "c.d", "g"}) == {"a.b", "c.d"}


def test_every_module_belongs_to_one_package():
    assert len(set(PACKAGES)) == len(PACKAGES)
    assert {package_of(name) for name in MODULES} == set(PACKAGES)  # a module outside all of them gives ""


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_itself_and_those_before_it(package):
    before = PACKAGES[: PACKAGES.index(package) + 1]
    own = {name: path for name, path in MODULES.items() if package_of(name) == package}
    for name, path in own.items():
        later = {used for used in imported_modules(path, MODULES) if package_of(used) not in before}
        assert not later, f"{name} imports {sorted(later)}, which stand after {package} in tools/packages.py"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_of_a_package_import_one_another_in_a_circle(package):
    own = {name: path for name, path in MODULES.items() if package_of(name) == package}
    graph = {name: imported_modules(path, own) - {name} for name, path in own.items()}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_imports_are_absolute():
    for name, path in MODULES.items():
        levels = {node.level for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)}
        assert levels <= {0}, f"{name} has a relative import"


@pytest.mark.parametrize("top", PROGRAMS)
def test_a_root_has_about_fifteen_files(top):
    assert len(list((ROOT / top).glob("*.py"))) <= 16


def exported(path: Path) -> list[str]:
    """What an __init__ offers: what it defines or imports from its own package, otherwise the package's modules."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{package}."):
            names |= {alias.name for alias in node.names}
    for node in tree(path).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    names = {name for name in names if name[0] != "_"}
    around = {name.removeprefix(f"{package}.").split(".")[0] for name in MODULES if name.startswith(f"{package}.")}
    return sorted(names or {name for name in around if name[0] != "_"})


@pytest.mark.parametrize("package", [name for name, path in MODULES.items() if path.name == "__init__.py"])
def test_all_lists_what_a_package_offers(package):
    module = importlib.import_module(package)
    assert sorted(module.__all__) == exported(MODULES[package])
    for name in module.__all__:
        assert hasattr(module, name) or f"{package}.{name}" in MODULES


def underscored(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name != "_"


def defined(path: Path) -> set[str]:
    """The underscore names that a file defines: functions, classes, variables and attributes."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return set(filter(underscored, names))


def uses(path: Path) -> set[str]:
    """The underscore names that a file imports from this repository or reads as attributes of anything."""
    own = {name for name in imported_names(path) if name.split(".")[0] in FORBIDDEN}
    names = {part for name in own for part in name.split(".")}
    names |= {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    return set(filter(underscored, names)) - FOREIGN


def packages_of_tests(path: Path) -> set[str]:
    """The packages that a file of tests is named after: of tests/test_samplers_batch.py gaussdiff.samplers."""
    short = {package: package.removeprefix("gaussdiff.").replace(".", "_") for package in PACKAGES}
    return {package for package, name in short.items() if f"{path.stem}_".startswith(f"test_{name}_")}


def test_underscore_names_stay_inside():
    """A function's or attribute's in its file, a module's in its package; tests may read those of what they test."""
    private = {package: set() for package in PACKAGES}  # modules alone
    inner = {package: set() for package in PACKAGES}
    for module, path in MODULES.items():
        private[package_of(module)] |= {path.stem}
        inner[package_of(module)] |= defined(path) | {path.stem}
    allowed = {path: defined(path) | private[package_of(module)] for module, path in MODULES.items()}
    for room in ("benchmarks", "colab", "tools"):
        allowed |= {path: defined(path) for path in (ROOT / room).rglob("*.py")}
    for path in (ROOT / "tests").glob("*.py"):
        allowed[path] = defined(path).union(*(inner[package] for package in packages_of_tests(path)))
    strange = {str(path.relative_to(ROOT)): uses(path) - names for path, names in allowed.items()}
    assert not {path: names for path, names in strange.items() if names}


def test_the_reader_of_underscore_names_sees_modules_functions_and_methods(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("from gaussdiff._a import _b\nfrom jax._c import _d\nx._e, x.f, x._asdict()\ny._g = _h = 0\n")
    assert uses(path) == {"_a", "_b", "_e", "_g"}
    assert defined(path) == {"_g", "_h"}
    assert packages_of_tests(ROOT / "tests" / "test_samplers_batch.py") == {"gaussdiff.samplers"}


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
