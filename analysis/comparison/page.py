"""compare.html: several runs on one page, with the verdicts that experiments gave of each."""

import html
from collections.abc import Mapping
from pathlib import Path

from analysis.comparison import verdicts
from analysis.comparison.verdicts import Judgements
from analysis.experiments import named
from analysis.harness.table import Table
from analysis.reporting.claims import chip, encoded, section
from analysis.reporting.page import filled, html_table
from analysis.reporting.words import words


def page(table: Table, figure: bytes, samples: bytes, judged: Mapping[str, Judgements], images: bool) -> str:
    """The page. table: of what was measured of every run; figure, samples: PNG files, these of images or of points."""
    return filled(
        Path(__file__).with_name("compare.html"),
        sentence=html.escape(verdicts.sentence(judged)),
        runs="\n".join(_run(label, each) for label, each in judged.items()),
        table=html_table(table),
        figure=encoded(figure),
        samples=encoded(samples),
        shared=": one noise for each column" if images else "",
        words=words(images),
        claims=_claims(judged) if verdicts.shown(judged) else "",
    )


def _run(label: str, judged: Judgements) -> str:
    doubt = f' <strong class="differs">Stale: {html.escape(judged.doubt)}.</strong>' if judged.doubt else ""
    return (
        f'<li><strong>{html.escape(label)}</strong> <span class="soft">{html.escape(judged.made)}.</span>{doubt}</li>'
    )


def _claims(judged: Mapping[str, Judgements]) -> str:
    """The table of verdicts, and what was found, claim by claim."""
    names = verdicts.shown(judged)
    head = "".join(f"<th>{html.escape(label)}{' (stale)' if each.doubt else ''}</th>" for label, each in judged.items())
    rows = "".join(_row(name, judged) for name in names)
    return (
        "<h2>What was found on each run</h2><p>A verdict says whether a claim of the literature holds on that run. Its "
        "rule is the same for all runs whose report is not stale. Below the verdict is the number that the first "
        "column names, with its 95 % interval in brackets. A bar at the left: the verdicts differ.</p>"
        f'<div class="wide"><table class="claims compared"><thead><tr><th>claim</th>{head}</tr></thead><tbody>{rows}'
        f"</tbody></table></div>\n{''.join(_section(name, judged) for name in names)}"
    )


def _row(name: str, judged: Mapping[str, Judgements]) -> str:
    about = f"{html.escape(named(name).title)}<br><span class='soft'>{html.escape(named(name).headline.label)}</span>"
    cells = "".join(_cell(name, each) for each in judged.values())
    mark = ' class="different"' if verdicts.differ(name, judged) else ""
    return f'\n<tr{mark}><td><a href="#{name}">{name}</a> {about}</td>{cells}</tr>'


def _cell(name: str, judged: Judgements) -> str:
    verdict, number = verdicts.cell(judged.entries.get(name), name)
    return "<td>–</td>" if verdict == "–" else f"<td>{chip(verdict)}<br>{html.escape(number)}</td>"


def _section(name: str, judged: Mapping[str, Judgements]) -> str:
    """A claim with what was found on each run; of a single one its name is in the table above."""
    return "\n" + section(name, {run: each.entries[name] for run, each in judged.items() if name in each.entries})
