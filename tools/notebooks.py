"""Run the tutorials and store them, with their figures, as notebooks that read on the web.

python tools/notebooks.py            colab/*.py (jupytext, py:percent) -> executed colab/*.ipynb
python tools/notebooks.py --check    change nothing; exit 1 and name the notebooks whose cells are not the text's
"""

import argparse
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent


def read(text: Path) -> nbformat.NotebookNode:
    """The notebook of a text file, with cell names that do not change from run to run."""
    notebook = jupytext.read(text)
    for i, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{i}"
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    return notebook


def execute(notebook: nbformat.NotebookNode, folder: Path, timeout: int = 600) -> None:
    """Run every cell in `folder`; what a cell leaves behind beside its outputs is taken off again."""
    NotebookClient(notebook, timeout=timeout, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def in_step(text: Path) -> bool:
    """Whether the stored notebook has the cells of the text file; outputs are not compared."""
    stored = text.with_suffix(".ipynb")
    if not stored.exists():
        return False
    pairs = [[(cell.cell_type, cell.source) for cell in nb.cells] for nb in (read(text), nbformat.read(stored, 4))]
    return pairs[0] == pairs[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, exit 1 where a notebook is not in step")
    options = parser.parse_args()
    texts = sorted((ROOT / "colab").glob("*.py"))
    if options.check:
        behind = [text.with_suffix(".ipynb").name for text in texts if not in_step(text)]
        print("\n".join(f"{name}: not in step, run make notebooks" for name in behind) or "every notebook is in step")
        return 1 if behind else 0
    for text in texts:
        notebook, started = read(text), time.perf_counter()
        execute(notebook, text.parent)
        stored = text.with_suffix(".ipynb")
        nbformat.write(notebook, stored)
        print(f"{stored.name}: {time.perf_counter() - started:.0f} s, {stored.stat().st_size / 1024:.0f} KiB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
