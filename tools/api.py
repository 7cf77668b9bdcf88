"""Write docs/api.md from the docstrings, which are read, not imported; with --check only compare (exit 1)."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEAD = """# Public names

In reading order, with the first sentence of their docstrings; `help(gd.Gaussian)` shows all. Written by `make api`.
"""


def named(nodes: list) -> dict[str, ast.ClassDef | ast.FunctionDef]:
    return {node.name: node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def entry(node: ast.ClassDef | ast.FunctionDef, name: str, around: dict, indent: str = "") -> str:
    """A list item for a class, function or method, and for what a class has, itself or from a private base."""
    sentence = re.sub(r"(?<=\S[.])\s.*", "", " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split()))
    bases = [around.get(ast.unparse(base)) for base in node.bases] if isinstance(node, ast.ClassDef) else []
    inside = [part for owner in (*bases, node) if isinstance(owner, ast.ClassDef) for part in owner.body]
    methods = {key: part for key, part in named(inside).items() if key[0] != "_" and ast.get_docstring(part)}
    item = f"{indent}- `{name}`: " + re.sub(r"([*<])", r"\\\1", sentence) + "\n"
    return item + "".join(entry(part, f".{key}", {}, "  ") for key, part in methods.items())


def page() -> str:
    order = re.findall(r"in this reading order: (.*?)\.\n", (ROOT / "CONTRIBUTING.md").read_text(), re.S)[0]
    imports = [n for n in ast.parse((ROOT / "gaussdiff/__init__.py").read_text()).body if isinstance(n, ast.ImportFrom)]
    modules, *rest = ({alias.name for alias in node.names} for node in imports)  # the first import is of modules
    names, text = set().union(*rest), HEAD
    for module in re.split(r",\s+", order):
        files = [ROOT / f"gaussdiff/{module}.py", *sorted((ROOT / "gaussdiff" / module).glob("*.py"))]
        nodes = named([node for file in files if file.exists() for node in ast.parse(file.read_text()).body])
        public = {key: f"gd.{module}.{key}" for key in nodes if module in modules and key[0] != "_"}
        public |= {key: f"gd.{key}" for key in nodes if key in names}
        around = {key: node for key, node in nodes.items() if key not in public}
        text += f"\n## {module}\n\n" * bool(public) + "".join(entry(nodes[key], public[key], around) for key in public)
    missing = [name for name in sorted(names) if f"\n- `gd.{name}`: " not in text] + re.findall(r"`(.*)`: \n", text)
    return text if not missing else sys.exit(f"outside CONTRIBUTING.md's reading order, or undocumented: {missing}")


if __name__ == "__main__":
    target, new = ROOT / "docs/api.md", page()
    if "--check" not in sys.argv:
        target.write_text(new)
    sys.exit(None if target.exists() and target.read_text() == new else "docs/api.md: not in step, run make api")
