"""Write docs/api.md and CONTRIBUTING.md's map from the docstrings, which are read, not imported; --check only compares.

With --check the exit status is 1 where either is not in step.
"""

import ast
import re
import sys
from pathlib import Path

from packages import PACKAGES

ROOT = Path(__file__).parent.parent
HEAD = """# Public names

By package in reading order, with the first sentence of their docstrings; `help(gd.Gaussian)` shows all. Written by
`make api`.
"""
Node = ast.ClassDef | ast.FunctionDef


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def files(package: str) -> list[Path]:
    """The files of a package, its __init__ first, or the one file of a module."""
    path = ROOT / package.replace(".", "/")
    return sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def first_sentence(node: ast.Module | Node) -> str:
    paragraph = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
    return re.sub(r"([*<])", r"\\\1", re.sub(r"(?<=\S[.])\s.*", "", paragraph))


def definitions(nodes: list[ast.stmt]) -> dict[str, Node]:
    return {node.name: node for node in nodes if isinstance(node, Node)}


def item(node: Node, name: str, others: dict[str, Node], indent: str = "") -> str:
    """A list item for a class, function or method, and for a class's methods, its own or from a base in `others`."""
    bases = [others.get(ast.unparse(base)) for base in node.bases] if isinstance(node, ast.ClassDef) else []
    body = [part for owner in (*bases, node) if isinstance(owner, ast.ClassDef) for part in owner.body]
    methods = {key: part for key, part in definitions(body).items() if key[0] != "_" and ast.get_docstring(part)}
    text = f"{indent}- `{name}`: {first_sentence(node)}\n"
    return text + "".join(item(part, f".{key}", {}, "  ") for key, part in methods.items())


def front_door() -> tuple[set[str], set[str]]:
    """What gaussdiff/__init__.py imports: the namespaces, and the names that stand at `gd.` themselves."""
    imports = [node for node in tree(ROOT / "gaussdiff/__init__.py").body if isinstance(node, ast.ImportFrom)]
    modules = {alias.name for node in imports if node.module == "gaussdiff" for alias in node.names}
    return modules, {alias.name for node in imports if node.module != "gaussdiff" for alias in node.names}


def exported(package: str, nodes: dict[str, Node]) -> set[str]:
    """A package's __all__, or the names of a module that start with no underscore."""
    path = ROOT / package.replace(".", "/") / "__init__.py"
    if not path.exists():
        return {name for name in nodes if name[0] != "_"}
    lists = [node.value for node in tree(path).body if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node)]
    return set(ast.literal_eval(lists[0]))


def api() -> str:
    """The text of docs/api.md; the program ends where a public name is in no package or has no docstring."""
    namespaces, flat = front_door()
    text, promised = HEAD, {f"gd.{name}" for name in flat}
    for package in PACKAGES:
        top, _, name = package.partition(".")
        if top != "gaussdiff" or not name:
            continue
        nodes = definitions([node for file in files(package) for node in tree(file).body])
        inside = exported(package, nodes) if name in namespaces else set()
        promised |= {f"gd.{name}.{key}" for key in inside - flat}
        public = {key: f"gd.{key}" if key in flat else f"gd.{name}.{key}" for key in nodes if key in inside | flat}
        others = {key: node for key, node in nodes.items() if key not in public}
        if public:
            text += f"\n## {package}\n\n" + "".join(item(nodes[key], public[key], others) for key in public)
    missing = [name for name in sorted(promised) if f"\n- `{name}`: " not in text] + re.findall(r"`(.*)`: \n", text)
    return text if not missing else sys.exit(f"in no package of tools/packages.py, or undocumented: {missing}")


def contributing() -> str:
    """CONTRIBUTING.md with the map between its marks: each package and the first sentence of its docstring."""
    lines = [f"- `{package}`: {first_sentence(tree(files(package)[0]))}\n" for package in PACKAGES]
    pattern = r"(<!-- map -->\n).*?(<!-- /map -->\n)"
    return re.sub(
        pattern, lambda marks: marks[1] + "".join(lines) + marks[2], (ROOT / "CONTRIBUTING.md").read_text(), flags=re.S
    )


if __name__ == "__main__":
    late = []
    for target, new in ((ROOT / "docs/api.md", api()), (ROOT / "CONTRIBUTING.md", contributing())):
        if not target.exists() or target.read_text() != new:
            late.append(str(target.relative_to(ROOT)))
            if "--check" not in sys.argv:
                target.write_text(new)
    sys.exit(f"{', '.join(late)}: not in step, run make api" if late and "--check" in sys.argv else None)
