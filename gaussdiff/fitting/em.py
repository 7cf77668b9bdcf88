"""Mixtures of probabilistic principal components fitted by expectation maximization, in JAX.

Component i is N(m, W W^T + rho I) with W = U diag(sqrt(lam - rho)). One pass over the data: responsibilities R_n, then

    pi = sum R / N,   m = sum R x / sum R,   S = sum R (x - m)(x - m)^T / sum R, only ever as S W and tr S,
    W' = S W (rho I + diag(1 / lam) W^T S W)^-1,   rho' = (tr S - tr(S W diag(1 / lam) W'^T)) / D

Tipping & Bishop 1999, Mixtures of probabilistic principal component analysers, appendix C, in the basis where their
M = W^T W + rho I is diag(lam). The likelihood never falls. O(N K D r) for each pass and no D x D matrix.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.distributions.mixture import GaussianMixture
from gaussdiff.numerics.arrays import dot, floating, host, safe_divide
from gaussdiff.numerics.checks import check_at_least_0, check_chunk, check_count, check_finite_number, shape_of_samples
from gaussdiff.numerics.eigen import row_blocks
from gaussdiff.numerics.kinds import check_kind
from gaussdiff.progress import Progress
from gaussdiff.schedules import clean


def expectation_maximization(
    mixture: GaussianMixture,
    x,
    iterations: int = 50,
    *,
    tolerance: float = 1e-6,
    floor: float = 1e-6,
    chunk: int = 1000,
    progress: Progress | None = None,
) -> tuple[GaussianMixture, np.ndarray]:
    """Raise the likelihood of a low-rank mixture on samples x (N, *event), from a start such as from_samples gives.

    Returns the mixture and the mean log likelihood in nats (iterations done + 1,) before each pass and after the last;
    it stops where one pass gains less than `tolerance` nats. floor: the least residual variance, relative to the mean
    variance of an entry of x, without which a component could collapse on its own samples; a start below it is raised.
    A component without samples stays as it is, at weight 0. progress(done, total): after each pass.

    ValueError for NaN, constant samples, another shape, or components without modes or without a residual (rank 0 or
    D: there is nothing to share), TypeError for anything but a mixture. Tipping & Bishop 1999, appendix C.
    """
    check_kind(mixture, GaussianMixture, "mixture", "a gd.GaussianMixture", "It comes first, then the samples.")
    iterations = check_count(iterations, "iterations", "50 suits most; 0 is the start alone.", least=0)
    check_finite_number(tolerance, "tolerance", "It is in nats; 1e-6 is usual, -1 does all iterations.")
    check_at_least_0(floor, "floor", "It is a fraction of the mean variance; 1e-6 is usual.")
    chunk = check_chunk(chunk)
    g = mixture.components
    size = g.mean[0].size
    if size == 1:
        raise ValueError(
            "mixture: expected D >= 2 numbers in a sample, got D = 1, where a low rank leaves nothing out. "
            "gd.GaussianMixture.from_samples(x, components, key=key) fits such data."
        )
    if not isinstance(g, Gaussian) or not 0 < g.rank < size:
        kind = f"{type(g).__name__} of rank {g.rank}"
        raise ValueError(
            f"mixture: expected Gaussians of rank 1 to D - 1 = {size - 1}, got {kind}. Start from "
            "gd.GaussianMixture.from_samples(x, components, rank=1, key=key)."
        )
    shape = shape_of_samples(x)
    if shape[1:] != mixture.shape:
        expected = ", ".join(map(str, ("N", *mixture.shape)))
        raise ValueError(f"x: expected samples ({expected}), got shape {shape}. Reshape them to the mixture's.")
    samples = x if isinstance(x, np.ndarray) else np.asarray(x)
    blocks = row_blocks(samples, chunk)
    mean = np.sum([host(block, "x").sum(0) for block in blocks], axis=0) / len(samples)
    variance = np.sum([((host(block, "x") - mean) ** 2).sum() for block in blocks]) / samples.size
    if not any((block != samples[:1]).any() for block in blocks):
        raise ValueError("x: expected samples that differ, got N equal ones. There is nothing to fit.")
    least = jnp.asarray(floor * variance, g.mean.dtype)
    mixture, trace = _with_floor(mixture, least), []
    for done in range(iterations + 1):
        sums = jax.tree.map(jnp.zeros_like, eqx.filter_eval_shape(_expect, mixture, floating(blocks[0])))
        for block in blocks:
            sums = jax.tree.map(jnp.add, sums, _expect(mixture, jnp.asarray(block, g.mean.dtype)))
        trace.append(float(sums[0]) / len(samples))
        if progress and done:
            progress(done, iterations)
        if done == iterations or (done and trace[-1] - trace[-2] < tolerance):
            break
        mixture = _maximize(mixture, sums, least)
    return mixture, np.array(trace)


def _with_floor(mixture: GaussianMixture, least: Array) -> GaussianMixture:
    """The mixture with no residual variance below `least`, and no mode below its residual."""
    g = mixture.components
    residual = jnp.maximum(g.residual, least)
    eigvals = jnp.maximum(g.eigvals, residual[:, None])
    return eqx.tree_at(lambda m: [m.components.eigvals, m.components.residual], mixture, [eigvals, residual])


@eqx.filter_jit
def _expect(mixture: GaussianMixture, x: Array) -> tuple[Array, ...]:
    """Sums over a block: log likelihood; R; R d; R d (d^T W); R |d|^2, with d = x - mean of each component."""
    g = mixture.components
    log_prob = jax.vmap(lambda one: mixture.log_prob(one))(x)
    weights = jax.vmap(lambda one: mixture.responsibilities(one, clean()))(x)
    flat, means = x.reshape(len(x), -1), g.mean.reshape(len(g.mean), -1)

    def sums(component: Gaussian, mean: Array, r: Array):
        d = flat - mean[None]
        rd = r[:, None] * d
        return jnp.sum(r), jnp.sum(rd, 0), dot(rd.T, dot(d, _loadings(component))), jnp.sum(rd * d)

    return jnp.sum(log_prob), *jax.lax.map(lambda args: sums(*args), (g, means, weights.T))


@eqx.filter_jit
def _maximize(mixture: GaussianMixture, sums: tuple[Array, ...], least: Array) -> GaussianMixture:
    _, counts, shifts, images, powers = sums
    g = mixture.components
    components = jax.vmap(_updated, (0, 0, 0, 0, 0, None))(g, counts, shifts, images, powers, least)  # pyright: ignore
    return GaussianMixture(jnp.log(counts), components)


def _updated(g: Gaussian, count: Array, shift: Array, image: Array, power: Array, least: Array) -> Gaussian:
    """The M step of one component; the scatter about its new mean is that about the old less count shift shift^T."""
    # S W and tr S about the new mean
    loadings, size = _loadings(g), g.mean.size
    shift = safe_divide(shift, count)
    applied = safe_divide(image, count) - jnp.outer(shift, dot(shift, loadings))
    total = safe_divide(power, count) - jnp.sum(shift**2)

    # W' = S W (rho I + diag(1 / lam) W^T S W)^-1, rho' = (tr S - tr(S W diag(1 / lam) W'^T)) / D
    inner = g.residual * jnp.eye(g.rank, dtype=image.dtype) + dot(loadings.T, applied) / g.eigvals[:, None]
    new = jnp.linalg.solve(inner.T, applied.T).T
    residual = jnp.maximum((total - jnp.sum(applied * new / g.eigvals[None])) / size, least)

    # W' = U diag(sqrt(lam - rho)) again, by singular values; without samples the component stays as it was
    orthonormal, triangle = jnp.linalg.qr(new)
    turn, singular, _ = jnp.linalg.svd(triangle)
    updated = eqx.tree_at(
        lambda g: [g.mean, g.eigvals, g.eigvecs, g.residual],
        g,
        [g.mean + shift.reshape(g.shape), singular**2 + residual, dot(orthonormal, turn), residual],
    )
    return jax.tree.map(lambda new, old: jnp.where(count > 0, new, old), updated, g)


def _loadings(g: Gaussian) -> Array:
    """W = U diag(sqrt(lam - rho)); a mode of the residual's variance has a millionth of it, or it never grows."""
    excess = jnp.maximum(g.eigvals - g.residual, 1e-6 * g.residual)
    return g.eigvecs * jnp.sqrt(excess)[None]
