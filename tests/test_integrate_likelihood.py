"""Likelihoods along the flow against densities in closed form, and what their probes say of themselves."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from test_samplers import Calls

import gaussdiff as gd

X = jnp.array([0.3, -0.5, 1.2])
VE = gd.VarianceExploding()


@pytest.mark.slow
@pytest.mark.parametrize("law", ["gaussian_full", "mixture_full"])
def test_it_is_the_density_in_closed_form(law):
    """To 1e-3 nats, from clean data to pure noise, where the prior is right for any law."""
    model = zoo.DISTRIBUTIONS[law].model
    found = gd.log_likelihood(model, gd.Cosine(), X)
    assert float(found.value) == pytest.approx(float(model.log_prob(X)), abs=1e-3)
    assert float(found.standard_error) == 0


@pytest.mark.slow
def test_float32_solves_from_small_noise_terminate_and_compile_once():
    """From sigma = 0.002 to 80 at four tolerances, with the law's own prior; the error follows the tolerance."""
    traces, gaussian = Calls(), zoo.GAUSSIAN.model
    small, schedule = zoo.cast((gaussian, VE))
    model = Traced(small, traces)
    prior = gd.exact.gaussian_marginal(small, schedule(80.0))
    expected = float(gaussian.log_prob(X, VE(0.002)))
    x, counts = X.astype(jnp.float32), []
    for tolerance in (1e-3, 1e-4, 1e-5, 1e-6):
        options = {"start": 0.002, "end": 80.0, "rtol": tolerance, "atol": tolerance, "prior": prior}
        found = gd.log_likelihood(model, schedule, x, **options).value
        counts.append(len(traces))
        assert found.dtype == jnp.float32
        assert float(found) == pytest.approx(expected, abs=max(30 * tolerance, 1e-3))
    assert len(set(counts)) == 1


@pytest.mark.slow
def test_probes_are_unbiased_and_know_their_error():
    """v . M v with M = U log(S'/S) U^T, which a Gaussian has, varies by 2 sum_(i != j) M_ij^2 over random signs v.

    The value within 5 standard errors: one key in 1,700,000 fails. The error itself to a quarter: with 1,000 probes of
    a quadratic form in 3 signs, that is 5 of its own deviations or more.
    """
    gaussian, count = zoo.GAUSSIAN.model, 1000
    level, end = VE(0.5), VE(80.0)
    found = gd.log_likelihood(gaussian, VE, X, start=0.5, end=80.0, probes=count, key=jax.random.key(0))
    exact = gd.exact.flow_log_likelihood(gaussian, X, level, end, gd.Gaussian.isotropic(jnp.zeros(3), 6400.0))
    assert abs(float(found.value - exact)) < 5 * float(found.standard_error) + 1e-3
    lam, vectors = np.asarray(gaussian.eigvals), np.asarray(gaussian.eigvecs)
    matrix = (vectors * np.log((lam + 6400) / (lam + 0.25)) / 2) @ vectors.T
    away = matrix - np.diag(np.diag(matrix))
    assert float(found.standard_error) == pytest.approx(np.sqrt(2 * np.sum(away**2) / count), rel=0.25)


class Traced(gd.Denoiser):
    """A model that counts how often it is traced."""

    model: gd.Denoiser
    traces: list = eqx.field(static=True)

    def denoise(self, x, level):
        self.traces.append(1)
        return self.model.denoise(x, level)


def test_bits_per_dim_counts_the_levels():
    """All levels alike take log2(levels) bits; a density twice as large takes one bit less."""
    for levels, width in ((256, 2.0), (16, 1.0)):
        nats = -7 * np.log(width)
        assert gd.bits_per_dim(nats, 7, levels, width) == pytest.approx(np.log2(levels), rel=1e-14)
        assert gd.bits_per_dim(nats + 7 * np.log(2), 7, levels, width) == pytest.approx(np.log2(levels) - 1, rel=1e-14)


def test_what_goes_wrong_is_said(unchecked):
    ask = functools.partial(gd.log_likelihood, zoo.GAUSSIAN.model, VE)
    with pytest.raises(RuntimeError, match=r"log_likelihood: .* stopped at sigma/alpha = .* after 2 steps, .*max_"):
        ask(X, max_steps=2)
    for given, message in (
        ({"probes": 1, "key": jax.random.key(0)}, "probes: expected an integer >= 2"),
        ({"probes": 8}, "key: expected one"),
        ({"start": 80.0, "end": 1.0}, "start, end: expected start < end"),
        ({"rtol": 0.0}, "rtol: expected > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            ask(X, **given)
    with pytest.raises(ValueError, match="size: expected an integer >= 1, got 0"):
        gd.bits_per_dim(1.0, 0)
