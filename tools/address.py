"""Write the repository's public address, which stands in pyproject.toml alone, into every text that shows it.

    python tools/address.py            rewrite what stands between the marker comments
    python tools/address.py --check    change nothing; exit 1 and name the files that are not in step

A block opens with `address:KIND` and closes with `/address`, each in a comment of the file's own kind. As long as the
address is empty the blocks say so, and hold no link that would lead nowhere.
"""

import argparse
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

BLOCK = re.compile(
    r"(?m)^(?P<open>(?:<!--|#) address:(?P<kind>\w+)(?: -->)?\n).*?(?P<close>^(?:<!--|#) /address\b)", re.S
)
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")
UNKNOWN = "<address>"
NOT_YET = f"The repository has no public address yet; `{UNKNOWN}` stands for it."


def badges(address: str, file: str) -> str:
    if not address:
        return "No public address yet, so no badges and no Colab link: open the notebooks in `colab/` from a clone.\n"
    workflow = f"{address}/actions/workflows/ci.yml"
    return f"[![CI]({workflow}/badge.svg)]({workflow}) {_colab(address, 'colab/01_one_gaussian.ipynb')}\n"


def badge(address: str, file: str) -> str:
    """The line on top of a notebook that opens it in Colab."""
    if not address:
        return "Open in Colab: not yet, the repository has no public address. It runs from a clone.\n"
    return _colab(address, str(Path(file).with_suffix(".ipynb"))) + "\n"


def _colab(address: str, notebook: str) -> str:
    path = address.removeprefix("https://github.com/")
    picture = "https://colab.research.google.com/assets/colab-badge.svg"
    return f"[![Open in Colab]({picture})](https://colab.research.google.com/github/{path}/blob/main/{notebook})"


def clone(address: str, file: str) -> str:
    return _shell(address, f"git clone {address or UNKNOWN} gaussdiff", "cd gaussdiff")


def start(address: str, file: str) -> str:
    """The first screen: from nothing to the result in four lines."""
    lines = (f"git clone {address or UNKNOWN} gaussdiff", "cd gaussdiff", "make demo", "make test")
    return _shell(address, *lines)


def engine(address: str, file: str) -> str:
    return _shell(address, f'pip install "gaussdiff @ git+{address or UNKNOWN}"')


def _shell(address: str, *lines: str) -> str:
    block = "\n".join(("```sh", *lines, "```")) + "\n"
    return block if address else f"{NOT_YET}\n\n{block}"


def install(address: str, file: str) -> str:
    """The first lines of a notebook's code; %pip in the form that Python can read too."""
    if address:
        action = f'get_ipython().run_line_magic("pip", \'install -q "gaussdiff @ git+{address}"\')'
    else:
        cure = "gaussdiff has no public address yet: clone it and run `pip install -e .` in its folder"
        action = f'raise ModuleNotFoundError("{cure}")'
    return f'if importlib.util.find_spec("gaussdiff") is None:\n    {action}\n'


def urls(address: str, file: str) -> str:
    if not address:
        return ""
    return f'[project.urls]\nRepository = "{address}"\nChangelog = "{address}/blob/main/CHANGELOG.md"\n'


KINDS: dict[str, Callable[[str, str], str]] = {
    kind.__name__: kind for kind in (badges, badge, clone, start, engine, install, urls)
}


def rewrite(text: str, address: str, file: str) -> str:
    """The text with every block made anew; ValueError for a block of an unknown kind."""

    def block(match: re.Match) -> str:
        if match["kind"] not in KINDS:
            raise ValueError(f"{file}: unknown block address:{match['kind']}, expected one of {', '.join(KINDS)}")
        return match["open"] + KINDS[match["kind"]](address, file) + match["close"]

    return BLOCK.sub(block, text)


def rewrite_commented(text: str, address: str, file: str) -> str:
    """The same for markdown cells of a py:percent file, where every line starts with `# `."""

    def block(match: re.Match) -> str:
        plain = re.sub(r"(?m)^# ?", "", match[0])
        return "\n".join(f"# {line}".rstrip() for line in rewrite(plain, address, file).split("\n"))

    return re.sub(r"(?ms)^# <!-- address:\w+ -->\n.*?^# <!-- /address -->", block, text)


def rewrite_notebook(text: str, address: str, file: str) -> str:
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        # a cell's last line carries no line end
        cell["source"] = rewrite("".join(cell["source"]), address, file).splitlines(keepends=True)
    return json.dumps(notebook, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def files(root: Path) -> list[Path]:
    folders = [*root.glob("colab/*.py"), *root.glob("colab/*.ipynb"), *root.glob("docs/*.md")]
    return [path for path in (*root.glob("*.md"), root / "pyproject.toml", *folders) if path.is_file()]


def known_address(root: Path) -> str:
    """The address in [tool.gaussdiff] of pyproject.toml, or "" ; ValueError for one that Colab can't open."""
    address = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["gaussdiff"]["repository"]
    if address and not ADDRESS.fullmatch(address):
        raise ValueError(f"repository: expected https://github.com/OWNER/NAME or an empty string, got {address!r}")
    return address


def write(root: Path, keep: bool) -> list[str]:
    """The files whose blocks are not those of the address; they are rewritten unless `keep`."""
    address, changed = known_address(root), []
    for path in sorted(files(root)):
        text, file = path.read_text(), path.relative_to(root).as_posix()
        if path.suffix == ".ipynb":
            new = rewrite_notebook(text, address, file)
        else:
            new = rewrite(rewrite_commented(text, address, file), address, file)
        if new != text:
            changed.append((path, new))
    if not keep:
        for path, new in changed:
            path.write_text(new)
    return [path.relative_to(root).as_posix() for path, _ in changed]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 where a file is not in step")
    parser.add_argument("--root", type=Path, default=Path(__file__).parent.parent, help="the repository's folder")
    options = parser.parse_args()
    try:
        changed = write(options.root, keep=options.check)
    except ValueError as error:
        parser.error(str(error))
    verb = "not in step, run make address" if options.check else "written"
    print("\n".join(f"{file}: {verb}" for file in changed) or "every file is in step with the address")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    raise SystemExit(main())
