"""The page of a report: the words around what was measured, every figure inside the one file."""

import base64
import html
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from string import Template

from analysis.harness.experiment import Result, storable
from analysis.reporting import figures
from analysis.reporting import words as page_words
from analysis.reporting.folded import folded
from analysis.reporting.slider import slider
from analysis.reporting.study import Study
from analysis.reporting.tables import Table, tables

SECTION = Template("""<section id="$name">
<h2>$title $verdict</h2>
<p class="soft">$name. The claim: $claim<br>Published: $published<br>$criterion</p>
<p class="found">$found</p>
$figure
$numbers
</section>""")


CAPTIONS = {
    "images": "Left: the start, pure noise, where a model should believe in the average image. Right: the end of the "
    "path, σ = 0, the finished image. For large σ the rows look alike, because only the mean and the covariance matter "
    "there; they part when details are decided.",
    "points": "Every line is one start: what the model believes from pure noise, where it should be the average point, "
    "to the finished point, the dot. The lines leave the middle alike, and part where details are decided.",
}

SAMPLES = {
    "images": "Columns share their noise, except for the real images in the last row.",
    "points": "Every dot is a sample. All models started from the same noise; the last panel shows real points.",
}


def page(study: Study, drawings: Mapping[str, bytes]) -> str:
    """report.html. drawings: PNG files by name, "trajectories", "samples" and one for each experiment measured."""
    told = {name: html.escape(text) for name, text in sentences(study).items()}
    return filled(
        Path(__file__).with_name("page.html"),
        **told,
        figure_trajectories=encoded(drawings["trajectories"]),
        figure_samples=encoded(drawings["samples"]),
        words=page_words.words(study.setting.is_image),
        slider=slider(study.setting.paths),
        claims="\n".join(_claim(result) for result in study.results),
        experiments="\n\n".join(_section(result, drawings.get(result.experiment.name)) for result in study.results),
        tables="\n".join(map(html_table, tables(study))),
        settings=folded("all settings of the training run", study.config.to_json()),
        seconds=folded("the seconds of each part", _seconds(study)),
    )


def filled(template: Path, **parts: str) -> str:
    """A template with its parts, in the style that all pages have."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return Template(template.read_text(encoding="utf-8")).substitute(parts, style=style)


def sentences(study: Study) -> dict[str, str]:
    """The sentences of the page that depend on what was measured."""
    quality, settings = study.quality, study.settings
    frechet = ", ".join(
        f"{figures.NAMES[name]} {row['frechet']:.2f}" for name, row in quality.items() if name != "real"
    )
    ratio = {name: f"{row['nearest_training_ratio']:.2f}" for name, row in quality.items()}
    sizes = f"{len(study.data.train)} training and {len(study.data.held_out)} held-out samples"
    kind = page_words.kind(study.setting.is_image)
    nouns = page_words.NOUNS[kind]
    thing = nouns["thing"]
    return {
        "data": f"{study.config.data}: {sizes}; the network after {study.step:,} steps",
        "thing": thing,
        "caption": CAPTIONS[kind],
        "under_samples": SAMPLES[kind],
        "article": nouns["article"],
        "verdicts": _counted(study.results),
        "samples": (
            f"Fréchet distance to unseen {kind}: {frechet}; for comparison, real {kind} against real "
            f"{kind}: {quality['real']['frechet']:.2f} ± {quality['real']['frechet_std']:.2f}; differences smaller "
            f"than that ± {quality['real']['frechet_std']:.2f} mean nothing. The network's samples lie "
            f"{ratio['network']} times as far from the nearest training {thing} as unseen {kind} do, those of the data "
            f"set {ratio['data_set']} times."
        ),
        "made": (
            f"{study.starts} starts, Heun's method, {settings.steps} steps on the EDM grid from σ = "
            f"{settings.sigma_max:g} to {settings.sigma_min:g} and then 0, seed {settings.seed}. "
            f"The network: {study.step:,} steps of {study.config.batch} {thing}s, averaged weights. "
            f"The features for the Fréchet distance: {study.setting.features.name}. "
            f"{_spent(study)}"
        ),
    }


SAID = {  # of one claim, and of several
    "agrees": ("agrees", "agree"),
    "agrees in part": ("agrees in part", "agree in part"),
    "differs": ("differs", "differ"),
    "not measured": ("was not measured", "were not measured"),
}


def _counted(results: tuple[Result, ...]) -> str:
    counts = Counter(result.finding.verdict for result in results)
    said = ", ".join(
        f"{counts[verdict]} {words[counts[verdict] > 1]}" for verdict, words in SAID.items() if verdict in counts
    )
    return f"Of {len(results)} claims of the literature, measured on this run, {said}."


def _spent(study: Study) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in study.versions.items())
    return f"It took {sum(study.seconds.values()):.0f} s with {versions}."


SHARED = {
    "open": "open the run and its data, fit the twins",
    "follow": "follow the paths of all models and controls",
    "judge": "judge the samples, find when components are decided",
}


def _seconds(study: Study) -> dict[str, float]:
    titles = {result.experiment.name: f"{result.experiment.name} {result.experiment.title}" for result in study.results}
    names = {**SHARED, **titles}
    return {names[part]: seconds for part, seconds in study.seconds.items()}


def _claim(result: Result) -> str:
    about, finding = result.experiment, result.finding
    return (
        f'<tr><td><a href="#{about.name}">{about.name}</a></td><td>{html.escape(about.title)}</td>'
        f"<td>{chip(finding.verdict)}</td></tr>"
    )


def _section(result: Result, drawing: bytes | None) -> str:
    about, finding = result.experiment, result.finding
    words = {name: html.escape(getattr(about, name)) for name in ("title", "claim", "published", "criterion")}
    return SECTION.substitute(
        words,
        name=about.name,
        verdict=chip(finding.verdict),
        found=html.escape(finding.found),
        figure=_figure(about.title, about.caption, drawing),
        numbers=folded("all its numbers", storable(finding.numbers)) if finding.numbers else "",
    )


def chip(verdict: str) -> str:
    """A verdict as a coloured mark."""
    return f'<span class="verdict {verdict.replace(" ", "-")}">{verdict}</span>'


def _figure(title: str, caption: str, drawing: bytes | None) -> str:
    if drawing is None:
        return ""
    return (
        f'<figure><div class="wide"><img alt="{html.escape(title)}" '
        f'src="data:image/png;base64,{encoded(drawing)}"></div>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def encoded(drawing: bytes) -> str:
    """A PNG file as text for an address of an image."""
    return base64.b64encode(drawing).decode()


def html_table(table: Table) -> str:
    """A table with its title and note."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    rows = "".join(
        f"<tr><th>{html.escape(first)}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in table.rows
    )
    return (
        f"<h3>{html.escape(table.title)}</h3><p>{html.escape(table.note)}</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
