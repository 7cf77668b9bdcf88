"""A table of text, as experiments and reports make it and pages and terminals show it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A title, what to read off it, column heads, and rows of text."""

    title: str
    note: str
    columns: list[str]
    rows: list[list[str]]
