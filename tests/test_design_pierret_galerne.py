"""The schemes of the benchmark against the recursions of their mean and variance, in a few lines of NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd
from benchmarks import pierret_galerne as theirs

VARIANCES = np.array([4.0, 0.3, 0.01])


def integral(t):
    """Of beta from 0 to t, with beta from 0.05 to 10."""
    return 0.05 * t + (10 - 0.05) * t**2 / 2


def recursion(scheme: str, n: int, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """The factor of the mean, and the variance that is added to it, of n even steps from t = 1."""
    times, h = np.linspace(1, epsilon, n + 1), (1 - epsilon) / n
    beta = lambda t: 0.05 + (10 - 0.05) * t  # noqa: E731
    inverse = lambda t: 1 / (np.exp(-2 * integral(t)) * (VARIANCES - 1) + 1)  # noqa: E731
    flow = lambda t: beta(t) * (1 - inverse(t))  # noqa: E731
    mean, variance = np.ones(3), np.zeros(3)
    for t, s in itertools.pairwise(times):
        added = 0.0
        if scheme == "euler_maruyama":
            factor, added = 1 + h * beta(t) * (1 - 2 * inverse(t)), 2 * h * beta(t)
        elif scheme == "exponential":
            grown = np.exp(integral(t) - integral(s))
            factor, added = grown - 2 * (grown - 1) * inverse(t), grown**2 - 1
        elif scheme == "ddpm":
            added = 2 * h * beta(t)
            factor = (1 - added * inverse(t)) / np.sqrt(1 - added)
        elif scheme == "euler":
            factor = 1 + h * flow(t)
        elif scheme == "heun":
            factor = 1 + h / 2 * (flow(t) + flow(s) * (1 + h * flow(t)))
        else:
            # the four stages of RK4 on y' = a(t) y, multiplied out
            a, b, c = flow(t), flow((t + s) / 2), flow(s)
            factor = 1 + h / 6 * (a + 4 * b + c) + h**2 / 6 * (a * b + b * b + b * c)
            factor += h**3 / 12 * (a * b * b + b * b * c) + h**4 / 24 * a * b * b * c
        mean, variance = factor * mean, factor**2 * variance + added
    return mean, variance


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scheme", "sampler"),
    [
        ("euler_maruyama", theirs.EulerMaruyama),
        ("exponential", theirs.Exponential),
        ("ddpm", theirs.DDPM),
        ("euler", theirs.Euler),
        ("heun", theirs.Heun),
        ("rk4", theirs.RK4),
    ],
)
def test_each_scheme_is_its_recursion(scheme, sampler):
    n = 30
    gains, added = theirs.laws(sampler(gd.VariancePreserving()), theirs.grids(n), jnp.asarray(VARIANCES))
    for e, epsilon in enumerate(theirs.EPSILONS):
        mean, variance = recursion(scheme, n, epsilon)
        np.testing.assert_allclose(gains[e], mean, rtol=1e-8)
        np.testing.assert_allclose(added[e], variance, rtol=1e-8)


def test_the_continuous_errors_are_those_of_the_exact_transition_and_flow():
    """The reverse SDE as gaussian_transition has it, the flow as the law that it makes of the prior."""
    vp = gd.VariancePreserving()
    model = gd.Gaussian(jnp.zeros(3), jnp.asarray(VARIANCES), jnp.eye(3))
    found = theirs.continuous(VARIANCES)
    for e, epsilon in enumerate(theirs.EPSILONS):
        mean, factor = gd.gaussian_transition(model, jnp.ones(3), vp(1.0), vp(epsilon), 1.0)
        ended = np.asarray(mean) ** 2 + np.asarray(factor.gains) ** 2
        assert found["reverse SDE"][e] == pytest.approx(np.linalg.norm(np.sqrt(ended) - np.sqrt(VARIANCES)), rel=1e-6)
        carried = np.asarray(gd.exact.flow_from_prior(model, vp(1.0), vp(epsilon)).eigvals) / float(vp(1.0).sigma) ** 2
        assert found["flow"][e] == pytest.approx(np.linalg.norm(np.sqrt(carried) - np.sqrt(VARIANCES)), rel=1e-6)


def test_blocks_of_the_page_are_replaced_and_missing_ones_refused():
    page = "before\n<!-- a -->\nold\n<!-- /a -->\nafter"
    assert theirs.written(page, {"a": "new"}) == "before\n<!-- a -->\nnew\n<!-- /a -->\nafter"
    with pytest.raises(ValueError, match="expected one block <!-- b -->"):
        theirs.written(page, {"b": "new"})


def test_times_are_read_back_from_levels():
    """The schemes take their times from the levels, down to t = 0."""
    vp = gd.VariancePreserving()
    times = np.array([1.0, 0.5, 1e-3, 1e-5, 0.0])
    np.testing.assert_allclose(jax.vmap(lambda t: vp.time_at(vp(t).log_snr))(times), times, rtol=1e-9, atol=1e-300)
