"""Curves over training steps as a figure of HTML: an SVG of its own, a key with the latest values, the numbers in JSON.

Colours are CSS variables of the page, so that one drawing serves light and dark.
"""

import html
import json
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

HEIGHT = 220
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 8, 22
MOST = 400  # points of a curve; of more, neighbours are averaged


class Curve(NamedTuple):
    """Points of one quantity; color: a CSS variable such as "--ink"."""

    name: str
    color: str
    steps: Sequence[float]
    values: Sequence[float]


class Axis(NamedTuple):
    """Maps [low, high] to pixels [start, end]; on a logarithmic axis by log."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def figure(
    title: str,
    curves: Sequence[Curve],
    *,
    note: str = "",
    log: bool = False,
    limits: tuple[float, float] | None = None,
    width: int = 440,
) -> str:
    """The <figure> of the curves with a note beside its title; limits: of the vertical axis, by default all.

    width: of the drawing, in units of which its letters are 11.5 high and the drawing 220; the page scales it.
    Curves that leave the limits are cut off there. On a logarithmic axis values that are not above 0 are left out.
    """
    thinned = [_thin(curve, log) for curve in curves]
    last = max([1, *(curve.steps[-1] for curve in thinned if curve.steps)])
    x = Axis(0, last, LEFT, width - RIGHT)
    y = Axis(*(limits or _limits(thinned, log)), HEIGHT - BOTTOM, TOP, log)
    numbers = {
        "span": [x.low, x.high, x.start / width, x.end / width],
        "curves": [{"name": c.name, "steps": list(c.steps), "values": list(c.values)} for c in thinned],
    }
    written = json.dumps(numbers).replace("<", "\\u003c")  # a name may not end the script
    lines = "\n".join(_line(curve, x, y) for curve in thinned)
    # Within it lines are cut off; a little larger than the axes, so that half a dot is not.
    x0, y0, wide, high = LEFT, TOP - 4, width - LEFT - RIGHT + 4, HEIGHT - TOP - BOTTOM + 8
    name, beside = html.escape(title), f' <span class="soft">{html.escape(note)}</span>' if note else ""
    return f"""<figure class="chart">
<figcaption><b>{name}</b>{beside}
<span class="keys">{" ".join(map(_key, thinned))}</span></figcaption>
<svg viewBox="0 0 {width} {HEIGHT}" role="img" aria-label="{name} over steps">
{_grid(x, y)}
<svg x="{x0}" y="{y0}" width="{wide}" height="{high}" viewBox="{x0} {y0} {wide} {high}">
{lines}
</svg>
<line class="cursor" y1="{TOP}" y2="{HEIGHT - BOTTOM}" visibility="hidden"/>
</svg>
<script type="application/json">{written}</script>
</figure>"""


def number(value: float) -> str:
    """A value for reading: three digits, thousands separated."""
    return (f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}").replace("-", "−")


def short(value: float) -> str:
    """A round value as on an axis: 1500 as 1.5k."""
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}".replace("-", "−")


def _thin(curve: Curve, log: bool) -> Curve:
    points = [(s, v) for s, v in zip(curve.steps, curve.values, strict=True) if math.isfinite(v) and (v > 0 or not log)]
    groups = np.array_split(np.reshape(points, (-1, 2)), min(len(points), MOST) or 1)
    means = [group.mean(0) for group in groups if len(group)]
    return curve._replace(steps=[float(m[0]) for m in means], values=[float(m[1]) for m in means])


def _limits(curves: Sequence[Curve], log: bool) -> tuple[float, float]:
    values = [value for curve in curves for value in curve.values]
    low, high = (min(values), max(values)) if values else (1.0, 2.0)
    if log:
        return low / 1.06, high * 1.06
    return 0.0, 1.08 * high if high > 0 else 1.0


def _line(curve: Curve, x: Axis, y: Axis) -> str:
    # Far outside of the limits a point is as good as just outside, and the text stays short.
    places = [(x.at(s), min(max(y.at(v), -HEIGHT), 2 * HEIGHT)) for s, v in zip(curve.steps, curve.values, strict=True)]
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
    style = f'style="--c: var({curve.color})"'
    dots = places if len(places) <= 30 else places[-1:]
    circles = "".join(f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.2" {style}/>' for a, b in dots)
    return f'<polyline points="{points}" {style}/>{circles}'


def _key(curve: Curve) -> str:
    latest = number(curve.values[-1]) if curve.values else "–"
    name = html.escape(curve.name)
    return f'<span class="key"><i style="--c: var({curve.color})"></i>{name} <output>{latest}</output></span>'


def _grid(x: Axis, y: Axis) -> str:
    across = [
        f'<line class="grid" x1="{LEFT}" x2="{x.end}" y1="{y.at(v):.1f}" y2="{y.at(v):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y.at(v) + 4:.1f}" text-anchor="end">{short(v)}</text>'
        for v in (_log_ticks(y) if y.log else _ticks(y))
    ]
    along = [
        f'<text x="{x.at(v):.1f}" y="{HEIGHT - 5}" text-anchor="{"end" if x.at(v) > x.end - 12 else "middle"}">'
        f"{short(v)}</text>"
        for v in _ticks(x)
    ]
    return "\n".join(across + along)


def _ticks(axis: Axis) -> list[float]:
    """Three to six round values."""
    rough = (axis.high - axis.low) / 5
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= rough)
    first = math.ceil(axis.low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(axis.high / step + 1e-9) + 1)]


def _log_ticks(axis: Axis) -> list[float]:
    """1, 2 and 5 of every decade, fewer where there are many decades; round values where there is less than one."""
    decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    for digits in ((1, 2, 5), (1,)):
        ticks = [round(m * 10.0**k, 12 - k) for k in decades for m in digits]
        ticks = [tick for tick in ticks if axis.low <= tick <= axis.high]
        if len(ticks) <= 7:
            break
    return ticks if len(ticks) >= 3 else _ticks(axis)
