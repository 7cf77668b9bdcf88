"""A5: how far a twin's path is from the network's when both start from the same noise.

Squared distance per entry of the states x_t and of the denoised images, at every step, all by the same solver. What
separates the network's end from the Gaussian's exact flow has two parts,

    network - exact = (network - Gaussian, by the same solver) + (Gaussian, by the solver - exact),

the error of the score and that of the solver. The second is known without a path: in a mode of variance lam the solver
multiplies by g (gd.transfer) where the flow multiplies by sqrt(lam) / S, so it is (g - sqrt(lam) / S) c. Squares are
given per entry, in units of the data's variance per entry.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

import gaussdiff as gd
from analysis.harness.experiment import Experiment, Headline, NotMeasuredError
from analysis.harness.finding import LEARNING, SCALE, Criterion, Finding, meet
from analysis.harness.setting import Setting
from analysis.harness.style import COLORS, LINES, NAMES, noise_axes, panels
from analysis.measures import patches
from analysis.measures.bootstrap import Interval, extreme, interval
from analysis.measures.paths import follow

CLOSE = 0.05  # squared distance, in data variances, by which the Gaussian may be farther than the nearest twin
KNOWN = 0.1  # squared distance within which that twin must be, or the network is like none of them
FINER = ("mixture", "fine_mixture", "local", "data_set")


@dataclass(frozen=True)
class Record:
    """Squared distances per entry from the network's paths: state {twin: (B, n+1)}, denoised {twin: (B, n)}.

    sigma (n+1,); unit: the data's variance per entry; largest: its largest standard deviation along a direction.
    variances (K,); score, solver, total (B, K): the squared errors of the ends' coefficients along the components.
    controls: {control: (B, n)}, as denoised. no_patches: why there are no patches, "" where there are.
    """

    sigma: np.ndarray
    unit: float
    largest: float
    state: dict[str, np.ndarray]
    denoised: dict[str, np.ndarray]
    variances: np.ndarray
    score: np.ndarray
    solver: np.ndarray
    total: np.ndarray
    controls: dict[str, np.ndarray]
    no_patches: str


def measure(setting: Setting) -> Record:
    """The paths of all twins, of the patches from a part of the starts, and of the Gaussian's exact flow."""
    sampler, starts, gaussian = gd.Heun(), setting.starts, setting.gaussian
    largest = float(np.sqrt(gaussian.variances[0]))
    if setting.sigma[0] < largest:
        raise NotMeasuredError(
            f"levels: expected a first noise scale above the data's largest deviation, {largest:.3g}, got "
            f"{setting.sigma[0]:.3g}. Raise --sigma-max."
        )
    paths = {**setting.paths, **follow(setting.more, sampler, starts, setting.levels)}
    if setting.local is not None:
        some = starts[: setting.count(16, 64)]
        paths |= follow({"local": setting.local.model}, sampler, some, setting.levels)
    network = paths.pop("network")
    variances = np.asarray(gaussian.variances, np.float64)
    leading = variances[: gaussian.rank]
    leading = leading[leading > 1e-6 * leading[0]]
    basis = np.asarray(gaussian.eigvecs, np.float64)[:, : len(leading)]
    ends = (_flat(network.samples - one.samples) @ basis for one in (paths["gaussian"], setting.closed_form))
    score, total = (end**2 for end in ends)
    begun = _flat(np.asarray(starts) - np.asarray(gaussian.mean)) @ basis
    return Record(
        sigma=setting.sigma.astype(np.float64),
        unit=float(variances.mean()),
        largest=largest,
        state={name: _distances(path.x, network.x) for name, path in paths.items()},
        denoised={name: _distances(path.denoised, network.denoised) for name, path in paths.items()},
        variances=leading,
        score=score,
        solver=(solver_gap(sampler, setting.levels, leading) * begun) ** 2,
        total=total,
        controls={name: _distances(path.denoised, network.denoised) for name, path in setting.control_paths.items()},
        no_patches=patches.too_expensive(setting.data.train) if setting.is_image else "",
    )


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1).astype(np.float64)


def _distances(path: np.ndarray, network: np.ndarray) -> np.ndarray:
    """Mean over entries of the squared distance from the network's first paths: (B, steps)."""
    difference = path.astype(np.float64) - network[: len(path)]
    return (difference**2).mean(tuple(range(2, path.ndim)))


def solver_gap(sampler: gd.Sampler, levels: gd.NoiseLevel, variances: np.ndarray) -> np.ndarray:
    """g - S_end / S_start of each mode (K,): the solver's gain beside the exact flow's."""
    first, last = (np.asarray(gd.exact.marginal_std(variances, level)) for level in (levels[0], levels[-1]))
    return np.asarray(gd.transfer(sampler, levels, variances), np.float64) - last / first


def find(record: Record) -> Finding:
    """Whether above the data's largest deviation no twin is much nearer than the Gaussian, and one is at the end."""
    ends = {name: interval(np.mean, distance[:, -1] / record.unit) for name, distance in record.state.items()}
    early = early_errors(record)
    finest = min((name for name in FINER if name in ends), key=lambda name: ends[name].value)
    nearer = _nearer(record, finest)
    beyond = {name: early_errors(record, distance)["beyond"] for name, distance in _know_less(record).items()}
    near = early["nearest"].high <= KNOWN
    as_near = {"network": early["beyond"].high <= CLOSE and near}
    as_near |= {name: one.high <= CLOSE for name, one in beyond.items()}
    controls = meet(as_near, beyond)
    errors = {
        name: float(getattr(record, name).mean(0).sum() / record.variances.sum())
        for name in ("score", "solver", "total")
    }
    listed = ", ".join(f"{NAMES[name]} {end}" for name, end in ends.items())
    return Finding(
        sentence="While the noise is large, the Gaussian's denoised sample differs from the network's by "
        f"{'at most' if as_near['network'] else 'as much as'} {early['gaussian'].value:.2g} variances of the data.",
        criteria=(
            Criterion(
                "squared distance of the Gaussian's denoised samples at large noise, beyond that of the nearest twin's",
                early["beyond"],
                f"at most {CLOSE:g} with its interval, and the nearest twin's at most {KNOWN:g}",
                as_near["network"],
                note=f"That of the nearest twin is {early['nearest']}. Large noise is above σ = {record.largest:.2g}, "
                "the data's largest standard deviation.",
                controls=controls,
                takes=SCALE if controls == ("isotropic",) else LEARNING,
            ),
            Criterion(
                "squared distance of the Gaussian's samples, beyond that of the nearest finer model's",
                nearer,
                "above 0 with its interval",
                nearer.low > 0,
                note=f"The finer model is the {NAMES[finest]}.",
            ),
        ),
        numbers={
            "sigma": record.sigma.tolist(),
            "data_variance": record.unit,
            "state_error": {name: distance.mean(0).tolist() for name, distance in record.state.items()},
            "denoised_error": {name: distance.mean(0).tolist() for name, distance in record.denoised.items()},
            "end_error_over_data_variance": {name: list(end) for name, end in ends.items()},
            "early_denoised_error_over_data_variance": {name: list(one) for name, one in early.items()},
            "early_beyond_nearest_of_controls": {name: list(one) for name, one in beyond.items()},
            "nearest_finer_model": finest,
            "nearer_than_gaussian_by": list(nearer),
            "error_of_ends_over_data_variance": errors,
            "mode_variances": record.variances.tolist(),
            "mode_error": {name: getattr(record, name).mean(0).tolist() for name in errors},
        },
        notes=tuple(
            filter(
                None,
                (
                    "All distances are squared, per entry, in variances of the data.",
                    f"The distances of the twins' samples from the network's are {listed}.",
                    f"Of the distance between the Gaussian's exact samples and the network's, {errors['solver']:.2g} "
                    f"comes from the solver and {errors['score']:.2g} from the score.",
                    record.no_patches,
                ),
            )
        ),
    )


def _know_less(record: Record) -> dict[str, np.ndarray]:
    """The denoised distances (B, n) of what knows less than the Gaussian: the controls, and the data's scale alone."""
    return {"isotropic": record.denoised["isotropic"], **record.controls}


def early_errors(record: Record, denoised: np.ndarray | None = None) -> dict[str, Interval]:
    """The largest mean error of denoised images above the largest deviation: "gaussian", "nearest", and "beyond".

    Of the Gaussian, or of the model with these distances (B, n), of the twin that is nearest at each scale, and of the
    first beyond the second; scales and twins are chosen on all starts. Patches are not among them: they have
    fewer paths.
    """
    early = record.sigma[:-1] >= record.largest
    gaussian = (record.denoised["gaussian"] if denoised is None else denoised)[:, early] / record.unit
    whole = [one for one in record.denoised.values() if len(one) == len(gaussian)]
    twins = np.stack([one[:, early] for one in whole], 1) / record.unit
    place = twins.mean(0).argmin(0)[None, None]
    nearest = np.take_along_axis(twins, np.broadcast_to(place, (len(twins), 1, gaussian.shape[1])), 1)[:, 0]
    return {"gaussian": extreme(gaussian), "nearest": extreme(nearest), "beyond": extreme(gaussian - nearest)}


def _nearer(record: Record, name: str) -> Interval:
    """How much nearer the ends of a twin are than the Gaussian's, from the same starts."""
    twin = record.state[name][:, -1] / record.unit
    return interval(np.mean, record.state["gaussian"][: len(twin), -1] / record.unit - twin)


def draw(record: Record) -> Figure:
    """Distance of states and of denoised images along the path, and the ends' error mode by mode."""
    figure, (first, second, third) = panels(3, width=4.6)
    for axis, distances in ((first, record.state), (second, record.denoised)):
        for name, curves in distances.items():
            label = NAMES[name] if axis is first else None
            sigma = record.sigma[: curves.shape[1]]
            drawn = (sigma > 0) & (curves.mean(0) > 0)
            axis.plot(sigma[drawn], curves.mean(0)[drawn] / record.unit, color=COLORS[name], **LINES[name], label=label)
        axis.axvline(record.largest, color="0.7", lw=0.8)
        axis.set_yscale("log")
    first.set(title="states", ylabel="squared distance / data variance")
    second.set(title="denoised images")
    for name, style in (("score", "ko"), ("solver", "C1^")):
        third.plot(
            record.variances, getattr(record, name).mean(0) / record.variances, style, ms=4, label=f"{name} error"
        )
    third.set(
        xscale="log", yscale="log", xlabel="variance of the component", ylabel="squared error of the end / variance"
    )
    third.set_title("components of the end", fontsize=10)
    end = record.state["gaussian"][:, -1].mean() / record.unit
    figure.suptitle(f"From the same noise, the Gaussian's sample ends {end:.2g} data variances from the network's")
    return noise_axes(figure, first, second)


CLOSED_FORM = Experiment(
    name="A5",
    title="The Gaussian's path is the network's, at first",
    claim="From the same noise the Gaussian's closed-form path follows the network's while the noise is large; finer "
    "models follow it further.",
    published="No number was published; Wang & Vastola, arXiv 2303.02490, section 4.",
    criterion="Distances are squared, per entry, in variances of the data. Agrees where (1) at every noise scale above "
    "the data's largest deviation some twin's denoised image is within .1 of the network's, and the Gaussian's at most "
    ".05 farther than the nearest twin's (with their intervals), and (2) some finer model ends nearer to the network's "
    "samples than the Gaussian (interval above 0); in part where (1) or (2) holds.",
    caption="Left and middle: squared distance of states and of denoised samples from the network's path, from the "
    "same noise by the same solver, per entry in variances of the data (grey line: the data's largest deviation). "
    "Right: the error at the end along each principal component, of the score and of the solver alone.",
    headline=Headline(
        "the Gaussian's squared error at large noise", ("early_denoised_error_over_data_variance", "gaussian")
    ),
    measure=measure,
    find=find,
    draw=draw,
)
