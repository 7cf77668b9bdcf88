"""compare.html: several runs on one page, with the verdicts that experiments gave of each."""

import html
from collections.abc import Mapping
from pathlib import Path

from analysis.comparison import verdicts
from analysis.comparison.verdicts import Told
from analysis.experiments import named
from analysis.reporting.page import chip, encoded, filled, html_table
from analysis.reporting.tables import Table
from analysis.reporting.words import words


def page(table: Table, figure: bytes, samples: bytes, told: Mapping[str, Told], images: bool) -> str:
    """The page. table: of what was measured of every run; figure, samples: PNG files, these of images or of points."""
    return filled(
        Path(__file__).with_name("compare.html"),
        sentence=html.escape(verdicts.sentence(told)),
        runs="\n".join(_run(label, each) for label, each in told.items()),
        table=html_table(table),
        figure=encoded(figure),
        samples=encoded(samples),
        shared=": one noise for each column" if images else "",
        words=words(images),
        claims=_claims(told) if verdicts.shown(told) else "",
    )


def _run(label: str, told: Told) -> str:
    doubt = f' <strong class="differs">Stale: {html.escape(told.doubt)}.</strong>' if told.doubt else ""
    return f'<li><strong>{html.escape(label)}</strong> <span class="soft">{html.escape(told.made)}.</span>{doubt}</li>'


def _claims(told: Mapping[str, Told]) -> str:
    """The table of verdicts, and what was found, claim by claim."""
    names = verdicts.shown(told)
    head = "".join(f"<th>{html.escape(label)}{' (stale)' if each.doubt else ''}</th>" for label, each in told.items())
    rows = "".join(_row(name, told) for name in names)
    return (
        "<h2>The claims, and what was found on each run</h2><p>A verdict says whether a claim of the literature holds "
        "on that run, by one criterion for all that are not stale. Under it the number that stands in the first "
        "column, in brackets its 95 % interval. A bar at the left: the verdicts differ. Below the table is what was "
        "found, in words.</p>"
        f'<div class="wide"><table class="claims compared"><thead><tr><th>claim</th>{head}</tr></thead><tbody>{rows}'
        f"</tbody></table></div>\n{''.join(_found(name, told) for name in names)}"
    )


def _row(name: str, told: Mapping[str, Told]) -> str:
    about = f"{html.escape(named(name).title)}<br><span class='soft'>{html.escape(verdicts.MAIN[name][0])}</span>"
    cells = "".join(_cell(name, each) for each in told.values())
    mark = ' class="apart"' if verdicts.parts(name, told) else ""
    return f'\n<tr{mark}><td><a href="#{name}">{name}</a> {about}</td>{cells}</tr>'


def _cell(name: str, told: Told) -> str:
    verdict, number = verdicts.cell(told.entries.get(name), name)
    return "<td>–</td>" if verdict == "–" else f"<td>{chip(verdict)}<br>{html.escape(number)}</td>"


def _found(name: str, told: Mapping[str, Told]) -> str:
    about = named(name)
    parts = [
        f"<dt>{html.escape(label)} {chip(each.entries[name]['verdict'])}</dt>"
        f"<dd>{html.escape(each.entries[name]['found'])}</dd>"
        for label, each in told.items()
        if name in each.entries
    ]
    return (
        f'\n<section id="{name}"><h3>{html.escape(about.title)}</h3>'
        f"<p>{name}. The claim: {html.escape(about.claim)}</p><dl>{''.join(parts)}</dl></section>"
    )
