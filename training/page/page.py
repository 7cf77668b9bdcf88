"""The page of a run, RUN/index.html: one file that needs no network and loads itself again while the training runs.

It is written from the files of the run, train.jsonl and samples/, so it is right after a resume, and says in the end
whether the run has finished, was stopped, or failed.
"""

import base64
import html
import platform
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

import jax
import numpy as np

from training.config import Config
from training.page import chart, journal, pictures
from training.page.chart import Curve
from training.presets import preset
from training.storage import checkpoint, disk

# Read once: another version of the file must not meet this one of the code in the middle of a run.
TEMPLATE = Template(Path(__file__).with_name("view.html").read_text(encoding="utf-8"))
RELOAD_SECONDS = 10  # after which a running page loads itself again
MOST_PICTURES = 12  # pictures within the page at most, the newest and others evenly spread
TWINS = {
    "isotropic": ("an isotropic Gaussian", "knows the mean and the total variance"),
    "gaussian": ("the Gaussian", "knows the mean and the covariance"),
    "data_set": ("the data set", "knows every training sample, no other"),
}


class Status(NamedTuple):
    """state: "running", "finished", "stopped" or "failed"; step; number of weights; a note, such as an error."""

    state: str
    step: int
    parameters: int
    note: str = ""


def write(run: Path, config: Config, shape: tuple[int, ...], status: Status) -> None:
    """Write RUN/index.html: whole or not at all."""
    with disk.explained(run / "index.html"):
        disk.make(run)  # which may have been moved or deleted meanwhile
        disk.write(run / "index.html", page(run, config, shape, status).encode(errors="backslashreplace"))


def page(run: Path, config: Config, shape: tuple[int, ...], status: Status) -> str:
    """The page of the run in the folder `run`."""
    records = journal.records(run / "train.jsonl")
    progress = status.step / max(1, config.steps)
    words = {
        "title": f"{config.data} {' × '.join(map(str, shape))}",
        "name": run.name,
        "network": f"{_network(config, shape)}, {status.parameters:,} parameters",
        "state": status.state,
        "note": status.note,
        "progress": f"step {status.step:,} of {config.steps:,}",
        "percent": f"{100 * progress:.4g}",
        "written": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    parts = {
        "refresh": f'<meta http-equiv="refresh" content="{RELOAD_SECONDS}">' if status.state == "running" else "",
        "facts": _facts(records, config, status),
        "loss": _loss(records),
        "speed": _speed(records),
        "samples": _samples(run),
        "explained": _explained(records),
        "settings": _settings(config),
        "versions": _rows(_versions()),
    }
    return TEMPLATE.substitute({name: html.escape(text) for name, text in words.items()}, **parts)


def _network(config: Config, shape: tuple[int, ...]) -> str:
    kind = ("mlp" if len(shape) == 1 else "unet") if config.network == "auto" else config.network
    return {"mlp": "MLP", "unet": "U-Net", "dit": "transformer"}[kind]


def _facts(records: Sequence[dict[str, Any]], config: Config, status: Status) -> str:
    """The latest numbers, large."""
    held_out = [r["held_out_loss"] for r in records if "held_out_loss" in r]
    facts = {}
    if records:
        facts["loss"] = chart.number(records[-1]["loss"])
        facts["images/s"] = chart.number(records[-1]["images_per_second"])
    if held_out:
        facts["held-out loss"] = chart.number(held_out[-1])
        facts["best so far"] = chart.number(min(held_out))
    if records and status.state == "running" and records[-1]["images_per_second"]:
        facts["left"] = _duration(config.batch * (config.steps - status.step) / records[-1]["images_per_second"])
    order = ("loss", "held-out loss", "best so far", "images/s", "left")
    return "\n".join(f"<div><dt>{name}</dt><dd>{facts[name]}</dd></div>" for name in order if name in facts)


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{seconds:.0f} s" if seconds < 90 else f"{minutes} min" if minutes < 90 else f"{seconds / 3600:.1f} h"


def _loss(records: Sequence[dict[str, Any]]) -> str:
    if not records:
        return '<p class="soft">The first numbers come when the network is compiled.</p>'
    curves = [_curve(records, "loss", "--first", "training"), _curve(records, "held_out_loss", "--second", "held out")]
    return chart.figure("Loss", curves, log=True)


def _speed(records: Sequence[dict[str, Any]]) -> str:
    curve = _curve(records, "images_per_second", "--first", "latest")
    return chart.figure("Images per second", [curve]) if records else ""


def _curve(records: Sequence[dict[str, Any]], field: str, color: str, name: str) -> Curve:
    points = [(record["step"], record[field]) for record in records if field in record]
    return Curve(name, color, [step for step, _ in points], [value for _, value in points])


def _samples(run: Path) -> str:
    """The pictures, the newest on top, and a slider over them."""
    taken = list(pictures.taken(run / pictures.FOLDER).items())
    if not taken:
        return ""
    chosen = np.unique(np.linspace(0, len(taken) - 1, min(len(taken), MOST_PICTURES)).round().astype(int))
    images = "\n".join(
        f'<img alt="samples at step {step}" data-step="{step:,}"{"" if i == chosen[-1] else " hidden"} '
        f'src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'
        for i, (step, path) in ((i, taken[i]) for i in chosen)
    )
    most = len(chosen) - 1
    slider = f'<input type="range" min="0" max="{most}" value="{most}" aria-label="step of the samples">' * (most > 0)
    return f"""<figure class="samples">
<figcaption><b>Samples</b>
<span class="keys">averaged weights, always the same noise: <output>step {taken[-1][0]:,}</output></span></figcaption>
<div class="stack">{images}</div>
{slider}
</figure>"""


def _explained(records: Sequence[dict[str, Any]]) -> str:
    explained = [record for record in records if "explained" in record]
    if not explained:
        return ""
    return f"""<section>
<h2>Still just a Gaussian?</h2>
<p>The fraction of the variance of the network's denoised samples that three closed formulas explain, on held-out data
with noise of standard deviation σ. <b>1: the network is still just that formula.</b> Below 1 it knows more than the
formula, or less: compare their errors. 0: the formula is no better than a constant. {_verdict(explained[-1])}</p>
<div class="three">{_panels(explained, "denoiser")}</div>
<details><summary>The same of the score</summary>
<p class="soft">The score is (denoised − noisy) / σ². At high noise it is mostly noise, which every formula knows.</p>
<div class="three">{_panels(explained, "score")}</div>
</details>
</section>"""


def _panels(explained: Sequence[dict[str, Any]], part: str) -> str:
    """One chart for each twin, with one curve for each noise scale."""
    steps = [record["step"] for record in explained]
    panels = []
    for twin, (name, knows) in TWINS.items():
        values = np.array([record["explained"][part][twin] for record in explained])
        curves = [
            Curve(f"σ {sigma:.2g}", f"--sigma{i}", steps, values[:, i].tolist())
            for i, sigma in enumerate(explained[-1]["explained"]["sigma"])
        ]
        low = min(0.0, max(-0.5, float(values.min())))
        panels.append(chart.figure(f"By {name}", curves, note=knows, limits=(low, 1.0), width=340))
    return "\n".join(panels)


def _verdict(record: dict[str, Any]) -> str:
    explained = record["explained"]
    middle = len(explained["sigma"]) // 2
    where = f"where the noise is as large as the data (σ = {explained['sigma'][middle]:.2g})"
    fractions = ", ".join(f"{TWINS[twin][0]} {100 * explained['denoiser'][twin][middle]:.0f} %" for twin in TWINS)
    network, gaussian = (chart.number(explained["error"][name][middle]) for name in ("network", "gaussian"))
    errors = f"There the error of the network is {network}, that of the Gaussian {gaussian}."
    return f"At step {record['step']:,}, {where}: {fractions}. {errors}"


def _settings(config: Config) -> str:
    """All settings; those that differ from the defaults of the data set are marked."""
    default = preset(config.data).to_json()
    return _rows(config.to_json(), {name for name, value in config.to_json().items() if value != default[name]})


def _rows(values: dict[str, Any], marked: set[str] | frozenset[str] = frozenset()) -> str:
    return "\n".join(
        f"<div{' class=marked' if name in marked else ''}><dt>{html.escape(name)}</dt>"
        f"<dd>{html.escape(_text(value))}</dd></div>"
        for name, value in values.items()
    )


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else "none" if value is None else str(value)


def _versions() -> dict[str, str]:
    devices = jax.devices()
    return {
        "python": platform.python_version(),
        **checkpoint.versions(),
        "device": f"{len(devices)} × {devices[0].device_kind}",
    }
