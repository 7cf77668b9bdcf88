"""What twins explain of one network on one set of probes: curves, each sample's squares, and gains beyond isotropic."""

from dataclasses import dataclass

import numpy as np

import gaussdiff as gd
from analysis.measures.probes import Probes, explained, squared_residuals, to_explain


@dataclass(frozen=True)
class Part:
    """explained: "denoiser" and "score" {twin: (m,)}, "error" {model: (m,)}.

    residuals {twin: (m, N)}: |network - twin|^2 of each sample (of the first ones for the patches).
    whole {part: (m, N)}: what is to be explained.
    """

    explained: dict[str, dict[str, np.ndarray]]
    residuals: dict[str, np.ndarray]
    whole: dict[str, np.ndarray]


def compared(probes: Probes, beliefs: dict[str, np.ndarray]) -> Part:
    """What twins of these answers (m, N, *event) explain of the probes' network."""
    residuals = {name: squared_residuals(probes, belief) for name, belief in beliefs.items()}
    return Part(
        explained(probes, beliefs), residuals, {part: to_explain(probes, part) for part in ("denoiser", "score")}
    )


def with_local(part: Part, probes: Probes, belief: np.ndarray) -> Part:
    """The part, with the patches, which answered for the first samples alone."""
    first = probes.first(belief.shape[1])
    patches = explained(first, {"local": belief})
    curves = {name: {**curves, "local": patches[name]["local"]} for name, curves in part.explained.items()}
    return Part(curves, {**part.residuals, "local": squared_residuals(first, belief)}, part.whole)


def gains(part: Part) -> dict[str, np.ndarray]:
    """What each twin explains of what the isotropic Gaussian leaves, (m,)."""
    base = part.residuals["isotropic"]
    return {
        name: 1 - residuals.sum(1) / base[:, : residuals.shape[1]].sum(1)
        for name, residuals in part.residuals.items()
        if name != "isotropic"
    }


def by_mode(network: np.ndarray, twin: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Explained variance (m, K) of the network's coefficients along the columns of a basis (D, K), by the twin's."""
    target, guess = (answers.reshape(*answers.shape[:2], -1).astype(np.float64) @ basis for answers in (network, twin))
    return np.stack([gd.metrics.explained_by_entry(*pair) for pair in zip(target, guess, strict=True)])
