"""A claim on a page: what was found of it on one run or on several, as HTML from entries of metrics.json."""

import base64
import html
from collections.abc import Mapping

from analysis.harness.finding import Entry, details, sentence, table
from analysis.reporting.folded import folded

Entries = Mapping[str, Entry]  # of one claim, by the name of the run; "" for a run that needs none


def section(name: str, entries: Entries, figure: str = "") -> str:
    """Heading, verdict, sentence, table and figure of a claim; all else is folded."""
    about, alone = next(iter(entries.values())), list(entries) == [""]
    badge = f" {chip(about['verdict'])}" if alone else ""
    parts = [
        f"<h2>{html.escape(about['title'])}{badge}</h2>",
        f'<p class="finding">{html.escape(sentence(about))}</p>' if alone else _sentences(entries),
        _criteria(entries),
        figure,
        _about(name, entries),
        *(_numbers(run, entry) for run, entry in entries.items()),
        *(_error(run, entry) for run, entry in entries.items()),
    ]
    return f'<section id="{name}">\n' + "\n".join(filter(None, parts)) + "\n</section>"


def chip(verdict: str) -> str:
    """A verdict as a coloured mark."""
    return f'<span class="verdict {html.escape(verdict.replace(" ", "-"))}">{html.escape(verdict)}</span>'


def picture(title: str, caption: str, png: bytes | None) -> str:
    """A figure with its caption; without a file nothing."""
    if png is None:
        return ""
    return (
        f'<figure><div class="wide"><img alt="{html.escape(title)}" src="data:image/png;base64,{encoded(png)}"></div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def encoded(png: bytes) -> str:
    """A PNG file as text for an address of an image."""
    return base64.b64encode(png).decode()


def _sentences(entries: Entries) -> str:
    parts = (
        f"<dt>{html.escape(run)} {chip(entry['verdict'])}</dt><dd>{html.escape(sentence(entry))}</dd>"
        for run, entry in entries.items()
    )
    return f"<dl>{''.join(parts)}</dl>"


def _criteria(entries: Entries) -> str:
    columns, rows = table(entries)
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "\n".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="wide"><table class="criteria"><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'
    )


def _about(name: str, entries: Entries) -> str:
    """Folded: the claim, what was published, the rule of the verdict, and what else was found."""
    about = next(iter(entries.values()))
    words = (("Claim", "claim"), ("Published", "published"), ("Rule of the verdict", "criterion"))
    lines = [f"<p><strong>{title}.</strong> {html.escape(about[key])}</p>" for title, key in words]
    for run, entry in entries.items():
        remarks = "".join(f"<li>{html.escape(remark)}</li>" for remark in details(entry))
        head = f"Also measured on {html.escape(run)}" if run else "Also measured"
        lines += [f"<p><strong>{head}.</strong></p><ul>{remarks}</ul>"] if remarks else []
    return f"<details><summary>About this claim ({name}) and its controls</summary>{''.join(lines)}</details>"


def _numbers(run: str, entry: Entry) -> str:
    return folded(f"All numbers of {run}" if run else "All its numbers", entry["numbers"]) if entry["numbers"] else ""


def _error(run: str, entry: Entry) -> str:
    if not entry.get("error"):
        return ""
    head = f"The error in full, {html.escape(run)}" if run else "The error in full"
    return f'<details><summary>{head}</summary><pre class="wide">{html.escape(entry["error"])}</pre></details>'
