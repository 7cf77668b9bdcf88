"""The page of a report: the words around what was measured, every figure inside the one file."""

import html
from collections.abc import Mapping
from pathlib import Path
from string import Template

from analysis.harness.experiment import Result
from analysis.harness.finding import counted
from analysis.harness.style import NAMES
from analysis.harness.table import Table
from analysis.reporting import words as page_words
from analysis.reporting.claims import chip, picture, section
from analysis.reporting.drawing import Drawing
from analysis.reporting.folded import folded
from analysis.reporting.slider import slider
from analysis.reporting.study import Study
from analysis.reporting.tables import tables

CAPTIONS = {
    "images": "From left to right the noise falls from pure noise to none, where the image is finished. For large σ "
    "the rows look alike, because only the mean and the covariance of the data matter there; at small σ each model "
    "adds details of its own.",
    "points": "Every line is one start: the model's prediction from pure noise, where it should be the average point, "
    "to the finished point, the dot. The lines leave the middle alike, and separate at the noise scales where details "
    "are decided.",
}

SAMPLES = {
    "images": "The models in one column started from the same noise. The last row shows real images for comparison.",
    "points": "Every dot is a sample, and all models started from the same noise. The last panel shows real points.",
}


def page(study: Study, drawings: Mapping[str, Drawing], interrupted: bool = False) -> str:
    """report.html. drawings: of "trajectories", "samples" and the experiments, as many as are drawn.

    A page of a study that goes on says which experiments are still to come; an interrupted one, that they were not
    measured.
    """
    kind = page_words.kind(study.setting.is_image)
    figures = {name: drawing["png"] for name, drawing in drawings.items()}
    return filled(
        Path(__file__).with_name("page.html"),
        **{name: html.escape(text) for name, text in sentences(study).items()},
        state=_state(study, interrupted),
        trajectories=picture("Predictions of each model along one path", CAPTIONS[kind], figures.get("trajectories")),
        samples=picture("Samples of each model", SAMPLES[kind], figures.get("samples")),
        words=page_words.words(study.setting.is_image),
        slider=slider(study.setting.paths),
        claims="\n".join(map(_row, study.results)),
        experiments="\n\n".join(_section(result, figures) for result in study.results),
        tables="\n".join(map(html_table, tables(study))),
        settings=folded("All settings of the training run", study.config.to_json()),
        seconds=folded("The seconds of each part", _seconds(study)),
    )


def filled(template: Path, **parts: str) -> str:
    """A template with its parts, in the style that all pages have."""
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return Template(template.read_text(encoding="utf-8")).substitute(parts, style=style)


def _state(study: Study, interrupted: bool) -> str:
    """What is still to come, and how to see it; nothing on a finished page."""
    done, names = f"{len(study.results)} of {len(study.experiments)}", ", ".join(one.name for one in study.pending)
    if interrupted:
        return (
            f'<p class="state"><strong>Interrupted.</strong> {done} experiments have run, not {names or "figures"}. '
            "Run the same command again.</p>"
        )
    if not study.pending:
        return ""
    return (
        f'<p class="state"><strong>Still running.</strong> {done} experiments have run; still to come: {names}. '
        '<button type="button" onclick="location.reload()">Reload</button> to see more.</p>'
    )


def sentences(study: Study) -> dict[str, str]:
    """The sentences of the page that depend on what was measured."""
    quality, settings, kind = study.quality, study.settings, page_words.kind(study.setting.is_image)
    distances = ", ".join(f"{NAMES[name]} {row['frechet']:.2f}" for name, row in quality.items() if name != "real")
    ratio = {name: f"{row['nearest_training_ratio']:.2f}" for name, row in quality.items()}
    real, spread = (f"{quality['real'][key]:.2f}" for key in ("frechet", "frechet_std"))
    sizes = f"{len(study.data.train)} training and {len(study.data.held_out)} held-out samples"
    nouns = page_words.NOUNS[kind]
    thing = nouns["thing"]
    return {
        "data": f"{study.config.data}: {sizes}; the network after {study.step:,} training steps",
        "thing": thing,
        "article": nouns["article"],
        "verdicts": _counted(study),
        "quality": (
            f"Fréchet distance to held-out {kind}: {distances}. That of real {kind} is {real} ± {spread}, and "
            f"differences of less than {spread} mean nothing. The distance to the nearest training {thing}, over that "
            f"of a held-out {thing}, is {ratio['network']} for the network's samples and {ratio['data_set']} for the "
            "data set's."
        ),
        "made": (
            f"{study.starts} starts, Heun's method, {settings.steps} steps on the EDM grid from σ = "
            f"{settings.sigma_max:g} to {settings.sigma_min:g} and then 0, seed {settings.seed}. "
            f"The network: {study.step:,} steps of {study.config.batch} {thing}s, averaged weights. "
            f"The features for the Fréchet distance: {study.setting.features.name}. "
            f"{_spent(study)}"
        ),
    }


def _counted(study: Study) -> str:
    """How many claims have each verdict."""
    entries = [result.to_json() for result in study.results]
    if not entries:
        return "No claim has been measured yet." if study.pending else "No claim was measured."
    return f"Of {len(entries)} claims of the literature, measured on this run, {counted(entries)}."


def _spent(study: Study) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in study.versions.items())
    return f"It took {sum(study.seconds.values()):.0f} s with {versions}."


COMMON = {
    "open": "open the run and its data, fit the twins",
    "follow": "follow the paths of all models and controls",
    "judge": "judge the samples, measure when components are decided",
}


def _seconds(study: Study) -> dict[str, float]:
    titles = {result.experiment.name: f"{result.experiment.name} {result.experiment.title}" for result in study.results}
    names = {**COMMON, **titles}
    return {names[part]: seconds for part, seconds in study.seconds.items()}


def _row(result: Result) -> str:
    about = result.experiment
    return (
        f'<tr><td><a href="#{about.name}">{about.name}</a></td><td>{html.escape(about.title)}</td>'
        f"<td>{chip(result.verdict)}</td></tr>"
    )


def _section(result: Result, figures: Mapping[str, bytes]) -> str:
    about = result.experiment
    figure = picture(about.title, about.caption, figures.get(about.name))
    return section(about.name, {"": result.to_json()}, figure)


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
