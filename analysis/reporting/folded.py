"""Folded tables of a page: everything that JSON holds of one thing, by name."""

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any


def folded(summary: str, values: Mapping[str, Any]) -> str:
    """A table of the leaves of nested values under a line that unfolds it."""
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(written(value))}</td></tr>" for name, value in _flat(values)
    )
    return f'<details><summary>{html.escape(summary)}</summary><div class="wide"><table>{rows}</table></div></details>'


def _flat(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves, with the names on the way to them."""
    for name, value in values.items():
        place = f"{above}{str(name).replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{place}, ")
        else:
            yield place, value


def written(value: Any) -> str:
    """A value as in JSON, numbers to four digits and text without quotes; in lists of lists each has a line."""
    if isinstance(value, list | tuple):
        between = ",\n " if any(isinstance(one, list | tuple) for one in value) else ", "
        return f"[{between.join(map(written, value))}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
