"""The words of a page that depend on the kind of data, and the list of terms, for readers who know none of them."""

from pathlib import Path
from string import Template

NOUNS = {
    "images": {"thing": "image", "article": "an", "entries": "pixels", "unit": "pixels run from −1 to 1"},
    "points": {"thing": "point", "article": "a", "entries": "coordinates", "unit": "those of the coordinates"},
}


def kind(images: bool) -> str:
    """What samples are called."""
    return "images" if images else "points"


def words(images: bool) -> str:
    """Every term that a page uses, in a list whose second half is folded."""
    text = Path(__file__).with_name("words.html").read_text(encoding="utf-8")
    return Template(text).substitute(NOUNS[kind(images)])
