"""Write a study to a folder: numbers, arrays, figures, and one self-contained page that explains them."""

import base64
import html
import io
import json
from pathlib import Path
from string import Template

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table as RichTable

from analysis import figures
from analysis.experiment import Result
from analysis.study import Study
from analysis.tables import Table, metrics, summary, tables

KEPT_PATHS = 32  # starts whose whole paths go to arrays.npz


def write(study: Study, out: Path) -> None:
    """Print the tables and write metrics.json, arrays.npz, figures/*.png and report.html to the folder `out`.

    Everything is made before the first file is written; KeyboardInterrupt after that says that files are missing.
    """
    drawings = {name: drawn(figure, "png") for name, figure in draw(study).items()}
    numbers = json.dumps(metrics(study), indent=1, allow_nan=False) + "\n"
    text, held = page(study, drawings), arrays(study)
    show(tables(study))
    try:
        (out / "figures").mkdir(parents=True, exist_ok=True)
        for name, picture in drawings.items():
            (out / "figures" / f"{name}.png").write_bytes(picture)
        (out / "metrics.json").write_text(numbers)
        np.savez_compressed(out / "arrays.npz", allow_pickle=False, **held)
        (out / "report.html").write_text(text, encoding="utf-8")
    except KeyboardInterrupt:
        unfinished = f"interrupted; the report in {out} may be incomplete: run the same command again"
        raise KeyboardInterrupt(unfinished) from None
    print(f"written: {out / 'report.html'}, metrics.json, arrays.npz, figures/ ({len(drawings)})")


def write_one(result: Result, out: Path) -> None:
    """Print what one experiment found; write NAME.json and its figure, NAME.png and NAME.pdf, to the folder `out`."""
    about, figure = result.experiment, result.draw()
    numbers = json.dumps(result.to_json(), indent=1, allow_nan=False) + "\n"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{about.name}.json").write_text(numbers)
    if figure is not None:
        (out / f"{about.name}.png").write_bytes(drawn(figure, "png"))
        (out / f"{about.name}.pdf").write_bytes(drawn(figure, "pdf"))
    print(f"{about.name}  {about.title}\nclaimed: {about.claim}\nfound: {result.finding.found}")
    print(f"verdict: {result.finding.verdict}\nwritten: {out / about.name}.json, .png, .pdf")


def draw(study: Study) -> dict[str, Figure]:
    """The figures, by file name."""
    return {
        "trajectories": figures.trajectories(study.paths),
        "commitment": figures.commitment(study.variances, study.committed),
        "explained_variance": figures.explained(study.sigmas, study.explained),
        "distances": figures.distances(study.levels, study.distances),
        "samples": figures.samples(_sample_rows(study)),
    }


def arrays(study: Study) -> dict[str, np.ndarray]:
    """What arrays.npz holds: noise scales, the first paths of every model, all final samples, variances."""
    held = {"sigma": study.levels, "variances": study.variances}
    for name, path in study.paths.items():
        held[f"{name}_x"], held[f"{name}_denoised"] = path.x[:KEPT_PATHS], path.denoised[:KEPT_PATHS]
        held[f"{name}_samples"] = path.samples
    return held


def _sample_rows(study: Study) -> dict[str, np.ndarray]:
    rows = {figures.NAMES[name]: path.samples for name, path in study.paths.items()}
    return {**rows, "unseen real\nimages": study.data.held_out}


def page(study: Study, drawings: dict[str, bytes]) -> str:
    """report.html: words around the measured numbers, with every figure inside the file."""
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    pictures = {f"figure_{name}": base64.b64encode(picture).decode() for name, picture in drawings.items()}
    words = {name: html.escape(text) for name, text in sentences(study).items()}
    return template.substitute(pictures, **words, tables="\n".join(map(_html_table, tables(study))))


def sentences(study: Study) -> dict[str, str]:
    """The sentences of the page that depend on what was measured."""
    numbers, quality, ends = summary(study), study.quality, study.distances["state"]
    order = numbers["order_correlation"]
    verdict = "large features come first" if order > 0.5 else "here the order is not the predicted one"
    ratios = ", ".join(f"{numbers[f'commitment_ratio_{n}']:.2f} ({figures.NAMES[n]})" for n in study.committed)
    closest = min(ends, key=lambda name: ends[name][-1])
    others = ", ".join(f"the {figures.NAMES[name]} {curve[-1]:.3f}" for name, curve in ends.items() if name != closest)
    frechet = ", ".join(
        f"{figures.NAMES[name]} {row['frechet']:.2f}" for name, row in quality.items() if name != "real"
    )
    ratio = {name: f"{row['nearest_training_ratio']:.2f}" for name, row in quality.items()}
    sizes = f"{len(study.data.train)} training and {len(study.data.held_out)} held-out samples"
    return {
        "data": f"{study.config.data}: {sizes}",
        "order": (
            "The rank correlation between a component's variance and the noise scale at which the U-Net decides it is "
            f"{order:.2f}: {verdict}. On these double logarithmic axes its points rise with slope "
            f"{numbers['commitment_slope']:.2f}, the formula with 0.50. In the median, components are decided at "
            f"this multiple of the formula's noise scale: {ratios}."
        ),
        "gaussian": (
            f"At σ = {numbers['sigma_near_one']:.2g} the Gaussian explains "
            f"{_percent(numbers['denoised_explained_near_one'])} of the variance of the U-Net's denoised image, the "
            f"isotropic baseline {_percent(numbers['denoised_explained_near_one_isotropic'])}. Of its score the "
            "Gaussian explains at every noise scale measured above 1 at least "
            f"{_percent(numbers['score_explained_above_one'])}, the isotropic baseline at least "
            f"{_percent(numbers['score_explained_above_one_isotropic'])}. {_at_high_noise(study)}"
        ),
        "starts": _at_the_start(study),
        "paths": (
            f"From the same noise the {figures.NAMES[closest]} ends closest to the U-Net, {ends[closest][-1]:.3f} per "
            f"entry (root mean square; images are in [-1, 1]); {others}."
        ),
        "samples": (
            f"Fréchet distance to unseen images: {frechet}; for comparison, real images against real "
            f"images: {quality['real']['frechet']:.2f} ± {quality['real']['frechet_std']:.2f}; differences smaller "
            f"than that ± {quality['real']['frechet_std']:.2f} mean nothing. The U-Net's samples lie "
            f"{ratio['network']} times as far from the nearest training image as unseen images do, those of the data "
            f"set {ratio['data_set']} times."
        ),
        "made": (
            f"{study.settings.starts} starts, Heun's method, {study.settings.steps} steps on the EDM grid from σ = "
            f"{study.settings.sigma_max:g} to {study.settings.sigma_min:g} and then 0, seed {study.settings.seed}. "
            f"The U-Net: {study.config.steps} steps of {study.config.batch} images, averaged weights. "
            f"The features for the Fréchet distance: {study.features}."
        ),
    }


def _at_high_noise(study: Study) -> str:
    """Whether the network's own error rules its denoised image at the highest noise scales, and from which on."""
    denoised, error, sigmas = study.explained["denoiser"], study.explained["error"], study.sigmas
    best = np.max([denoised[name] for name in study.paths if name != "network"], axis=0)
    trusted = np.flatnonzero((best >= 0.5) | (error["network"] <= error["gaussian"]))
    first = trusted[-1] + 1 if trusted.size else 0
    if first == len(sigmas):
        return (
            f"At the highest noise scale measured, σ = {sigmas[-1]:.2g}, the Gaussian explains "
            f"{_percent(denoised['gaussian'][-1])} of the denoised image."
        )
    return (
        f"At high noise the U-Net does not act like a Gaussian: from σ = {sigmas[first]:.2g} up the Gaussian "
        f"explains at most {_percent(denoised['gaussian'][first:].max())} of the denoised image and no twin half of "
        f"it, and on unseen data the U-Net's error is larger than the Gaussian's ({error['network'][-1]:.3f} against "
        f"{error['gaussian'][-1]:.3f} at σ = {sigmas[-1]:.2g}). There the denoised image should hardly vary, and what "
        "varies in it is mostly the network's own error."
    )


def _at_the_start(study: Study) -> str:
    """Whether the twins' denoised images agree at the start of the paths, where they have seen the same noise."""
    first = {name: path.denoised[:, 0] for name, path in study.paths.items()}
    twins = [image for name, image in first.items() if name != "network"]
    apart = max(float(np.sqrt(np.mean((a - b) ** 2))) for a in twins for b in twins)
    distances = [curve[0] for curve in study.distances["denoised"].values()]
    sigma, low, high = study.levels[0], min(distances), max(distances)
    if apart > 0.1 * low:
        return f"at σ = {sigma:.2g} the twins already differ, by up to {apart:.3f} from each other."
    return (
        f"all twins start at the same distance, {high:.3f}, because at σ = {sigma:.2g} they say nearly the "
        f"same (at most {apart:.1g} apart): the average image. That distance is the U-Net's own error."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.columns)
    rows = "".join(
        f"<tr><th>{html.escape(first)}</th>{''.join(f'<td>{html.escape(cell)}</td>' for cell in rest)}</tr>"
        for first, *rest in table.rows
    )
    return (
        f"<h3>{html.escape(table.title)}</h3><p>{html.escape(table.note)}</p>"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def show(shown: list[Table]) -> None:
    """Print tables to the terminal."""
    console = Console(width=None if Console().is_terminal else 120)
    for table in shown:
        grid = RichTable(title=table.title, caption=table.note, title_justify="left", caption_justify="left")
        for i, name in enumerate(table.columns):
            grid.add_column(name, justify="right" if i else "left")
        for row in table.rows:
            grid.add_row(*row)
        console.print(grid)


def drawn(figure: Figure, kind: str) -> bytes:
    """The figure as a file: "png", or "pdf" for print."""
    buffer = io.BytesIO()
    draws = {"png": FigureCanvasAgg, "pdf": FigureCanvasPdf}[kind]
    draws(figure).print_figure(buffer, format=kind, dpi=130, facecolor="white")
    return buffer.getvalue()
