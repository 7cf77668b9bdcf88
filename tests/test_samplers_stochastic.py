"""Samplers that draw noise: their algorithms, the law that they generate, the path that they share, and clipping."""

import functools
import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff.samplers._brownian import step_noise
from gaussdiff.samplers.edm import _raised
from gaussdiff.samplers.sample import follow

MEAN, VARIANCES = np.array([0.5, -1.0, 0.0, 2.0]), np.array([4.0, 1.0, 0.01, 0.0])
DIAGONAL = gd.Diagonal(jnp.asarray(MEAN), jnp.asarray(VARIANCES))
X = np.array([1.0, -2.0, 0.7, 0.3])
KEY = jax.random.key(5)
COSINE = gd.grids.uniform_time(gd.Cosine(), 7)
QUADRATURE = np.polynomial.legendre.leggauss(80)


# Independent NumPy references: one path of x through the levels a, s with the noise z (n, draws, D).
def wiener(x, a, s):
    return MEAN + a * VARIANCES / (a**2 * VARIANCES + s**2) * (x - a * MEAN)


def score(x, a, s):
    return -(x - a * MEAN) / (a**2 * VARIANCES + s**2)


def stepwise(step: Callable) -> Callable:
    """A path of steps x' = step(x, a, s, a', s', z) without memory."""

    def path(x, a, s, noise, **parameters):
        for i in range(len(a) - 1):
            x = step(x, a[i], s[i], a[i + 1], s[i + 1], noise[i], **parameters)
        return x

    return path


@stepwise
def ancestral(x, a, s, a2, s2, z, v):
    """Ho et al., eqs. 6 and 7, on abar = a^2 / (a^2 + s^2); log-variance as in Nichol & Dhariwal, eq. 15."""
    unit, unit2 = np.hypot(a, s), np.hypot(a2, s2)
    bar, bar2, x0 = (a / unit) ** 2, (a2 / unit2) ** 2, wiener(x, a, s)
    keep, beta = bar / bar2, 1 - bar / bar2
    mean = (np.sqrt(bar2) * beta * x0 + np.sqrt(keep) * (1 - bar2) * x / unit) / (1 - bar)
    small = (1 - bar2) / (1 - bar) * beta
    variance = np.exp(v * np.log(beta) + (1 - v) * np.log(small)) if s2 else 0.0
    return unit2 * (mean + np.sqrt(variance) * z[0])


def relaxed(y, target, s, t, eta, z):
    """The solution of dy = (1 + eta^2) (y - target) / s ds + eta sqrt(2 s) dw from s down to t."""
    if np.isinf(s):
        return target + t * z
    return target + (t / s) ** (1 + eta**2) * (y - target) + t * np.sqrt(1 - (t / s) ** (2 * eta**2)) * z


@stepwise
def exponential(x, a, s, a2, s2, z, eta):
    y, before = (x / a, s / a) if a else (x, np.inf)
    return a2 * relaxed(y, wiener(x, a, s), before, s2 / a2, eta, z[0])


@stepwise
def pp_sde(x, a, s, a2, s2, z, r, eta, s_noise):
    """Both stages as stochastic integrals over one Brownian path, their covariances by quadrature in lambda."""
    x0, z = wiener(x, a, s), s_noise * z
    if not a or not s2:
        return a2 * relaxed(x / a if a else x, x0, s / a if a else np.inf, s2 / a2, eta, z[0])
    y, start, h = x / a, s / a, np.log(s / a) - np.log(s2 / a2)

    def covariance(u, v):
        """of int_0^u e^(-k (u - l)) eta sqrt(2) s(l) dW_l, and the same to v >= u."""
        nodes, mass = QUADRATURE
        at = (nodes + 1) / 2 * u
        decay = np.exp(-(1 + eta**2) * (u + v - 2 * at))
        return u / 2 * mass @ (decay * 2 * eta**2 * (start * np.exp(-at)) ** 2)

    own, both, whole = covariance(r * h, r * h), covariance(r * h, h), covariance(h, h)
    end = np.sqrt(whole) * z[0]
    middle = both / whole * end + np.sqrt(max(own - both**2 / whole, 0)) * z[1]
    k = 1 + eta**2
    part = x0 + np.exp(-k * r * h) * (y - x0) + middle
    x0_r = wiener(part, 1.0, start * np.exp(-r * h))
    target = (1 - 1 / (2 * r)) * x0 + x0_r / (2 * r)
    return a2 * (target + np.exp(-k * h) * (y - target) + end)


def pp_2m_sde(x, a, s, noise, eta, s_noise):
    """SDE-DPM-Solver++(2M), with 1 + eta^2 and eta^2 where the source has 2 and 1."""
    lam, past = np.log(a) - np.log(s), None
    for i in range(len(a) - 1):
        x0, z = wiener(x, a[i], s[i]), s_noise * noise[i, 0]
        if a[i] == 0 or s[i + 1] == 0:
            x = a[i + 1] * relaxed(
                x / a[i] if a[i] else x, x0, np.inf if a[i] == 0 else 1.0, s[i + 1] / a[i + 1], 1.0, z
            )
            continue
        h, rise = lam[i + 1] - lam[i], -np.expm1(-(1 + eta**2) * (lam[i + 1] - lam[i]))
        moved = s[i + 1] / s[i] * np.exp(-(eta**2) * h) * x + a[i + 1] * rise * x0
        if past is not None:
            moved = moved + a[i + 1] * rise / 2 * (x0 - past) / ((lam[i] - lam[i - 1]) / h)
        x, past = moved + s[i + 1] * np.sqrt(-np.expm1(-2 * eta**2 * h)) * z, x0
    return x


def edm(x, a, s, noise, churn, s_min=0.0, s_max=np.inf, s_noise=1.0):
    """Karras et al., algorithm 2, in y = x / a; the level reached is where the line of the step has that ratio."""
    for i in range(len(a) - 1):
        ratio = s[i] / a[i] if a[i] else np.inf
        k = 1 + (min(churn / (len(a) - 1), np.sqrt(2) - 1) if s_min <= ratio <= s_max else 0)
        rise, fall = a[i + 1] ** 2 - a[i] ** 2, s[i] ** 2 - s[i + 1] ** 2
        lines = np.array([[-(k**2) * s[i] ** 2, a[i] ** 2], [fall, rise]])
        a_hat, s_hat = np.sqrt(np.abs(np.linalg.solve(lines, [0, a[i] ** 2 * fall + s[i] ** 2 * rise])))
        if a[i]:
            x = a_hat * (x / a[i] + s_noise * np.sqrt(k**2 - 1) * ratio * noise[i, 0])
        else:
            x = x / k + s_noise * s[i] * np.sqrt(1 - k**-2) * noise[i, 0]

        def slope(x, a0, s0, i=i, start=(a_hat, s_hat)):
            return (a[i + 1] - start[0]) * wiener(x, a0, s0) - (s[i + 1] - start[1]) * s0 * score(x, a0, s0)

        first = slope(x, a_hat, s_hat)
        x = x + (first if s[i + 1] == 0 else (first + slope(x + first, a[i + 1], s[i + 1])) / 2)
    return x


@stepwise
def euler_maruyama(x, a, s, a2, s2, z, eta, low=0.1, high=20.0):
    """dx = (f x - (1 + eta^2)/2 g^2 score) dt + eta g dw with f = -beta/2, g^2 = beta, beta = low + (high - low) t."""
    if not a or not s2:
        return a2 * relaxed(x / a if a else x, wiener(x, a, s), s / a if a else np.inf, s2 / a2, eta, z[0])

    def time(a, s):
        return (np.sqrt(low**2 + 2 * (high - low) * np.log1p((s / a) ** 2)) - low) / (high - low)

    t, dt, unit = time(a, s), time(a2, s2) - time(a, s), np.hypot(a, s)
    beta = low + (high - low) * t
    drift = -beta / 2 * x / unit - (1 + eta**2) / 2 * beta * score(x / unit, a / unit, s / unit)
    return np.hypot(a2, s2) * (x / unit + dt * drift + eta * np.sqrt(beta * -dt) * z[0])


@stepwise
def langevin(x, a, s, a2, s2, z, steps, size):
    """Song & Ermon, algorithm 1, with alpha_i = size s^2; the end is x + s^2 score."""
    for one in z[:steps]:
        x = x + size * s**2 / 2 * score(x, a, s) + np.sqrt(size) * s * one
    if s2 == 0:
        return a2 * wiener(x, a, s)
    return a2 / a * x if a else a2 * wiener(x, a, s) + s2 / s * x


@stepwise
def predictor_corrector(x, a, s, a2, s2, z, snr, steps):
    """Song et al., algorithm 4, after a step of DDPM."""
    x = ancestral(x, np.array([a, a2]), np.array([s, s2]), z[None, :1], v=0.0)
    for one in z[1:] if s2 else ():
        g = score(x, a2, s2)
        e = 2 * (snr * np.linalg.norm(one) / np.linalg.norm(g)) ** 2
        x = x + e * g + np.sqrt(2 * e) * one
    return x


P = functools.partial
REFERENCES = {
    "ancestral": (gd.Ancestral(), P(ancestral, v=0.0)),
    "ancestral_half": (gd.Ancestral(0.5), P(ancestral, v=0.5)),
    "ancestral_beta": (gd.Ancestral(1.0), P(ancestral, v=1.0)),
    "exponential_sde": (gd.ExponentialSDE(0.7), P(exponential, eta=0.7)),
    "dpmpp_sde": (gd.DPMSolverPPSDE(), P(pp_sde, r=0.5, eta=1.0, s_noise=1.0)),
    "dpmpp_sde_third": (gd.DPMSolverPPSDE(0.3, 0.6, 0.9), P(pp_sde, r=0.3, eta=0.6, s_noise=0.9)),
    "dpmpp_2m_sde": (gd.DPMSolverPP2MSDE(), P(pp_2m_sde, eta=1.0, s_noise=1.0)),
    "dpmpp_2m_sde_half": (gd.DPMSolverPP2MSDE(0.5, 0.9), P(pp_2m_sde, eta=0.5, s_noise=0.9)),
    "edm": (gd.EDMStochastic(), P(edm, churn=40.0)),
    "edm_within": (gd.EDMStochastic(8.0, 0.1, 20.0, 1.1), P(edm, churn=8.0, s_min=0.1, s_max=20.0, s_noise=1.1)),
    "euler_maruyama": (gd.EulerMaruyama(), P(euler_maruyama, eta=1.0)),
    "euler_maruyama_half": (gd.EulerMaruyama(eta=0.5), P(euler_maruyama, eta=0.5)),
    "langevin": (gd.AnnealedLangevin(4, 0.5), P(langevin, steps=4, size=0.5)),
    "predictor_corrector": (
        gd.PredictorCorrector(gd.Ancestral(), 0.2, 2),
        P(predictor_corrector, snr=0.2, steps=2),
    ),
}  # fmt: skip
GRIDS = {
    "alpha_1": gd.grids.karras,
    "alpha_1_to_sigma_min": functools.partial(gd.grids.karras, final_zero=False),
    "variance_preserving": lambda n: gd.grids.uniform_time(gd.VariancePreserving(), n),
    "cosine_from_pure_noise": lambda n: gd.grids.uniform_time(gd.Cosine(), n),
}
run = jax.jit(lambda sampler, model, x, levels, noise: follow(sampler, model, x, levels, noise).x)


def draws(sampler, n, size=4):
    """Noise for the n steps of a path."""
    return np.random.default_rng(n).normal(size=(n, sampler.draws(), size))


@functools.cache
def every_frame(lengths) -> list[gd.NoiseLevel]:
    return jax.jit(lambda: [grid(n) for grid in GRIDS.values() for n in lengths])()


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [zoo.LENGTHS, zoo.exhaustive(zoo.SWEEP)], ids=["few", "many"])
@zoo.over(REFERENCES, "pair")
def test_the_name_is_the_algorithm(pair, lengths):
    """Equal to an independent NumPy loop for n from 1 to 40, in four frames."""
    sampler, reference = pair
    # EDM's churn is shared out over the steps of the grid, of which zoo.along shows 40
    grids = every_frame((40,) if isinstance(sampler, gd.EDMStochastic) else lengths)
    starts, noise = [float(levels.sigma[0]) * X for levels in grids], draws(sampler, 40)
    got, _ = zoo.along(sampler, DIAGONAL, np.stack(starts), grids, noise)
    for end, x, levels in zip(np.asarray(got), starts, grids, strict=True):
        with np.errstate(divide="ignore"):
            expected = reference(x, np.asarray(levels.alpha), np.asarray(levels.sigma), noise)
        np.testing.assert_allclose(end, expected, rtol=1e-10, atol=1e-10, err_msg=f"n = {len(levels) - 1}")


def test_the_relaxation_solves_its_sde():
    """The closed form in the references, by the moments' own differential equations and 2,000 steps of Runge-Kutta."""
    for eta in (0.0, 0.6, 1.0, 1.5):
        ends = s, t = 3.0, 0.4

        def rate(s, moments, eta=eta):
            gain, variance = moments
            return np.array([(1 + eta**2) * gain / s, 2 * (1 + eta**2) * variance / s - 2 * eta**2 * s])

        moments, grid = np.array([1.0, 0.0]), np.linspace(*ends, 2001)
        for here, there in itertools.pairwise(grid):
            h = there - here
            one = rate(here, moments)
            two = rate(here + h / 2, moments + h / 2 * one)
            three = rate(here + h / 2, moments + h / 2 * two)
            moments = moments + h / 6 * (one + 2 * two + 2 * three + rate(there, moments + h * three))
        gain = relaxed(1.0, 0.0, s, t, eta, 0.0)
        assert gain == pytest.approx(moments[0], rel=1e-10)
        assert relaxed(0.0, 0.0, s, t, eta, 1.0) ** 2 == pytest.approx(moments[1], rel=1e-10, abs=1e-12)


POINT = gd.Diagonal(jnp.asarray(MEAN), jnp.zeros(4))
PAIRS = {
    "ancestral_is_ddim": (gd.Ancestral(0.0), gd.DDIM(1.0), DIAGONAL),
    "exponential_is_ddim": (gd.ExponentialSDE(1.0), gd.DDIM(1.0), DIAGONAL),
    "exponential_without_noise": (gd.ExponentialSDE(0.0), gd.DDIM(0.0), DIAGONAL),
    "2s_without_noise": (gd.DPMSolverPPSDE(0.4, 0.0), gd.DPMSolverPP2S(0.4), DIAGONAL),
    "2m_without_noise": (gd.DPMSolverPP2MSDE(0.0), gd.DPMSolverPP2M(), DIAGONAL),
    "edm_without_churn": (gd.EDMStochastic(0.0), gd.Heun(), DIAGONAL),
    "edm_beyond_its_range": (gd.EDMStochastic(40.0, 0.0, 1e-9), gd.Heun(), DIAGONAL),
    "2s_of_a_point": (gd.DPMSolverPPSDE(0.4, 0.7), gd.ExponentialSDE(0.7), POINT),
    "2m_of_a_point": (gd.DPMSolverPP2MSDE(0.7), gd.ExponentialSDE(0.7), POINT),
    "no_correction": (gd.PredictorCorrector(gd.DDIM(0.5), 0.0), gd.DDIM(0.5), DIAGONAL),
}


@pytest.mark.slow
@zoo.over(PAIRS, "pair")
def test_two_samplers_are_one(pair):
    """With the same noise, along a grid from pure noise to clean data."""
    one, other, model = pair
    noise = np.random.default_rng(0).normal(size=(7, 3, 4))
    paths = [run(s, model, jnp.asarray(X), COSINE, jnp.asarray(noise)[:, : _count(s)]) for s in (one, other)]
    np.testing.assert_allclose(*paths, rtol=1e-11, atol=1e-12)


def _count(sampler):
    """Draws as a jitted function sees them, where eta is not known to be 0."""
    return jax.eval_shape(lambda sampler: jnp.zeros(sampler.draws()), sampler).shape[0]


@pytest.mark.slow
def test_a_step_of_the_exponential_sde_is_the_exact_transition_of_a_point():
    """gaussian_transition of data that are the denoised image, in any frame, from alpha = 0 and to sigma = 0."""
    fresh = jnp.asarray([0.3, -1.0, 2.0, 0.1])
    for eta, i in itertools.product((0.0, 0.4, 1.0, 1.7), (0, 3, 6)):
        mean, factor = gd.gaussian_transition(gd.Gaussian.isotropic(MEAN, 0.0), X, COSINE[i], COSINE[i + 1], eta)
        step = gd.ExponentialSDE(eta).step(POINT, jnp.asarray(X), None, COSINE[i], COSINE[i + 1], fresh[None])
        np.testing.assert_allclose(step.x, mean + factor.matvec(fresh), rtol=1e-12, atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "ancestral_half",
        "exponential_sde",
        "dpmpp_sde",
        "dpmpp_2m_sde",
        "euler_maruyama",
        "langevin",
        "predictor_corrector",
    ],
)
def test_the_frame_does_not_matter(name):
    """x / alpha along the same log-SNRs and with the same noise, in the frames VE, VP, cosine and line."""
    sampler, _ = REFERENCES[name]
    base = gd.grids.karras(6, 0.01, 20.0)
    noise = draws(sampler, 6, 3)
    x = zoo.MIXTURE.x(base[0])[0]
    expected = run(sampler, zoo.MIXTURE.model, x, base, noise)
    for schedule in (gd.VariancePreserving(), gd.Cosine(), gd.RectifiedFlow()):
        levels = gd.reframe(base, schedule)
        path = run(sampler, zoo.MIXTURE.model, x * levels.alpha[0], levels, noise)
        np.testing.assert_allclose(path / levels.alpha[:, None], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("frame", [gd.VarianceExploding(), gd.Cosine(), gd.RectifiedFlow()], ids=repr)
def test_churn_leads_from_one_marginal_to_another(frame):
    """A normal of variance alpha^2 lam + sigma^2, shrunk and given noise, has that of the noisier level."""
    levels = gd.reframe(gd.grids.karras(4), frame)
    for level, next_level in itertools.pairwise(levels):
        shrink, added, raised = _raised(jnp.asarray(1.3), level, next_level)
        for lam in (0.0, 0.1, 5.0):
            before, after = (lv.alpha**2 * lam + lv.sigma**2 for lv in (level, raised))
            assert shrink**2 * before + added**2 == pytest.approx(float(after), rel=1e-12)
        assert raised.sigma / raised.alpha == pytest.approx(1.3 * float(level.sigma / level.alpha), rel=1e-12)
        assert frame(frame.time_at(raised.log_snr)).alpha == pytest.approx(float(raised.alpha), rel=0.2)
        if not isinstance(frame, gd.RectifiedFlow):
            assert frame(frame.time_at(raised.log_snr)).sigma == pytest.approx(float(raised.sigma), rel=1e-9)


LAM = jnp.array([4.0, 1.0, 0.1])
NORMAL = gd.Gaussian(jnp.zeros(3), LAM, jnp.eye(3))


@jax.jit
def spectrum(sampler, levels):
    return gd.transfer(sampler, levels, LAM), gd.design.injected_variance(sampler, levels, LAM)


@functools.cache
def fine(n):
    return gd.grids.uniform_log_snr(n, 0.1, 5.0, final_zero=False)


# name -> (sampler, its eta, weak order)
WEAK = {
    "ancestral": (gd.Ancestral(), 1.0, 1),
    "ancestral_beta": (gd.Ancestral(1.0), 1.0, 1),
    "exponential_half": (gd.ExponentialSDE(0.5), 0.5, 1),
    "exponential_beyond_1": (gd.ExponentialSDE(1.4), 1.4, 1),
    "euler_maruyama": (gd.EulerMaruyama(), 1.0, 1),
    "euler_maruyama_alpha_1": (gd.EulerMaruyama(gd.VarianceExploding(), 0.5), 0.5, 1),
    "dpmpp_sde": (gd.DPMSolverPPSDE(), 1.0, 2),
    "dpmpp_sde_third": (gd.DPMSolverPPSDE(0.3, 0.6), 0.6, 2),
    "dpmpp_2m_sde": (gd.DPMSolverPP2MSDE(), 1.0, 2),
    "dpmpp_2m_sde_half": (gd.DPMSolverPP2MSDE(0.6), 0.6, 2),
}


@pytest.mark.slow
@zoo.over(WEAK, "row")
def test_weak_order_of_convergence(row):
    """Gain and injected variance of a path, in closed form, toward those of the reverse SDE: order within 0.25."""
    sampler, eta, order = row
    errors = []
    for n in (48, 96):
        levels = fine(n)
        exact, factor = gd.gaussian_transition(NORMAL, jnp.ones(3), levels[0], levels[-1], eta)
        gain, injected = spectrum(sampler, levels)
        errors.append(max(np.abs(gain - exact).max(), np.abs(injected - factor.gains**2).max()))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)
    assert errors[1] < 0.3


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "order"), [(gd.EDMStochastic(5.0), 2), (gd.AnnealedLangevin(4, 0.5), 1)], ids=repr)
def test_weak_order_of_what_has_no_eta(sampler, order):
    """From the true marginal at sigma = 5 the variances approach those of the marginal at 0.1."""
    errors = []
    for n in (48, 96):
        gain, injected = spectrum(sampler, fine(n))
        errors.append(np.abs(gain**2 * (LAM + 25) + injected - (LAM + 0.01)).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


@pytest.mark.slow
def test_the_law_generated_approaches_the_data():
    """From pure noise to clean data, on a mean and modes of their own: W2 falls at least as 1/n, nearly."""
    for name in ("ancestral", "dpmpp_sde", "dpmpp_2m_sde"):
        sampler, _ = REFERENCES[name]
        levels = [gd.grids.uniform_time(gd.Cosine(), n) for n in (32, 128)]
        coarse, better = (float(distance(sampler, grid, zoo.GAUSSIAN.model)) for grid in levels)
        assert better < 0.35 * coarse < 0.05, name


distance = jax.jit(gd.wasserstein2)


@pytest.mark.slow
def test_at_eta_1_the_mean_of_every_step_is_exact():
    """Given x, the mean of x' needs E[x0 | x] alone: gains are exact for each law and in steps of any length."""
    for n in (1, 3):
        levels = fine(n)
        exact, _ = gd.gaussian_transition(NORMAL, jnp.ones(3), levels[0], levels[-1], 1.0)
        for sampler in (gd.ExponentialSDE(), gd.Ancestral(1.0)):
            np.testing.assert_allclose(spectrum(sampler, levels)[0], exact, rtol=1e-12)


@pytest.mark.slow
def test_the_noise_of_two_draws_is_what_paths_show():
    """The variance of 20,000 ends on each of three modes, within 5 standard errors: one key in 500,000 fails."""
    sampler, count, levels = gd.DPMSolverPPSDE(0.4, 0.8), 20_000, gd.grids.karras(5, 0.05, 5.0)
    keys = jax.random.split(jax.random.key(2), count)
    ends = jax.vmap(gd.sample, (None, None, None, None, 0))(sampler, NORMAL, jnp.zeros(3), levels, keys).x[:, -1]
    expected = spectrum(sampler, levels)[1]
    np.testing.assert_array_less(np.abs(ends.var(0) - expected), 5 * expected * np.sqrt(2 / count))


STRONG = {
    "ancestral": gd.Ancestral(),
    "exponential_sde": gd.ExponentialSDE(0.7),
    "dpmpp_sde": gd.DPMSolverPPSDE(),
    "dpmpp_2m_sde": gd.DPMSolverPP2MSDE(),
    "euler_maruyama": gd.EulerMaruyama(),
}


@functools.cache
def brownian(n):
    """The noise of n steps for 200 samples, two draws of each."""
    keys = jax.random.split(jax.random.key(0), 200)
    return jax.jit(jax.vmap(lambda key, levels: step_noise(key, levels, (2, 3), jnp.float64), (0, None)))(keys, fine(n))


@jax.jit
def batch(sampler, model, starts, levels, noise):
    """The ends of paths with noise (count, n, draws or more, *event)."""
    end = lambda x, noise: follow(sampler, model, x, levels, noise[:, : sampler.draws()]).x[-1]  # noqa: E731
    return jax.vmap(end)(starts, noise)


@pytest.mark.slow
@zoo.over(STRONG, "sampler")
def test_more_steps_refine_the_same_sample(sampler):
    """Strong convergence on a mixture: mean square distances of the ends at n and 2n steps, of order 1 within 0.3."""
    starts = 5 * jax.random.normal(jax.random.key(1), (200, 3))
    ends = [batch(sampler, zoo.MIXTURE.model, starts, fine(n), brownian(n)) for n in (32, 64, 128)]
    coarse, better = (float(jnp.sqrt(jnp.mean((a - b) ** 2))) for a, b in itertools.pairwise(ends))
    assert np.log2(coarse / better) == pytest.approx(1, abs=0.3)


@pytest.mark.slow
def test_many_langevin_steps_end_at_their_own_variance():
    """S^2 / (1 - a sigma^2 / (4 S^2)) at a level: the fixed point of V = (1 - a sigma^2 / 2 S^2)^2 V + a sigma^2.

    Carried to the next level, whose alpha is the same.
    """
    levels, size = gd.NoiseLevel(0.8, jnp.array([0.6, 0.5])), 0.9
    total = 0.8**2 * LAM + 0.6**2
    gain, injected = spectrum(gd.AnnealedLangevin(400, size), levels)
    np.testing.assert_allclose(gain, 0, atol=1e-9)
    np.testing.assert_allclose(injected, total / (1 - size * 0.6**2 / 4 / total), rtol=1e-9)


@pytest.mark.slow
def test_a_correction_nearly_keeps_the_marginal():
    """In many dimensions |z| / |noise| = S / sigma, and S^2 becomes (1 + 4 snr^4) S^2. One key in a million fails."""
    count, snr, lam = 40_000, 0.5, 2.0
    law, levels = gd.Gaussian.isotropic(jnp.zeros(count), lam), gd.NoiseLevel(0.8, jnp.array([0.6, 0.4]))
    x = jnp.sqrt(0.8**2 * lam + 0.6**2) * jax.random.normal(jax.random.key(0), (count,))
    end = gd.sample(gd.PredictorCorrector(gd.GaussianExact(law), snr), law, x, levels, jax.random.key(1)).x[-1]
    expected = (1 + 4 * snr**4) * (0.8**2 * lam + 0.4**2)
    assert end.var() == pytest.approx(expected, abs=6 * expected * np.sqrt(2 / count))


def test_no_noise_is_added_to_clean_data():
    """At sigma' = 0 a step ends at one point, whatever is drawn: the denoised image, of the last x or a later one."""
    last = gd.NoiseLevel(jnp.array([0.6, 1.0]), jnp.array([0.8, 0.0]))
    noise = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 4)))
    for name in ("ancestral_beta", "exponential_sde", "dpmpp_sde", "dpmpp_2m_sde", "euler_maruyama"):
        sampler, _ = REFERENCES[name]
        path = follow(sampler, DIAGONAL, jnp.asarray(X), last, noise[:, : sampler.draws()])
        np.testing.assert_allclose(path.x[-1], path.denoised[0], rtol=1e-13, atol=1e-15)


class Constant(gd.Denoiser):
    """Says the same of every x."""

    answer: jax.Array

    def denoise(self, x, level):
        return jnp.broadcast_to(self.answer, x.shape)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddim", "heun", "dpm_2", "dpmpp_2m", "ddim_ancestral", "dpmpp_sde"])
def test_clipping_takes_the_noise_along(name):
    """A model that says 7, -9 and 1/2, clipped to [-1, 2], is the law of the point c = (2, -1, 1/2).

    Its flow is alpha' c + (sigma'/sigma) (x - alpha c), which solvers of the ODE follow; with noise they end at c.
    """
    clipped = gd.Clipped(Constant(jnp.array([7.0, -9.0, 0.5])), -1.0, 2.0)
    levels, x, c = (
        gd.grids.uniform_time(gd.VariancePreserving(), 5),
        np.array([1.0, -3.0, 2.0]),
        np.array([2.0, -1.0, 0.5]),
    )
    path = gd.sample(zoo.SAMPLERS[name], clipped, x, levels, KEY).x
    np.testing.assert_allclose(path[-1], c, atol=1e-12)
    if name in zoo.DETERMINISTIC:
        alpha, sigma = np.asarray(levels.alpha)[:, None], np.asarray(levels.sigma)[:, None]
        np.testing.assert_allclose(path, alpha * c + sigma / sigma[0] * (x - alpha[0] * c), rtol=1e-11, atol=1e-12)


def test_clipped_and_thresholded_answers():
    """Against NumPy; each leaves alone what is in range, and an answer in range is its own threshold."""
    level = gd.NoiseLevel(0.8, 0.6)
    x = np.random.default_rng(0).normal(size=(5, 4)) * 2 + 1
    model = Constant(jnp.asarray(x))
    got = gd.Clipped(model, -0.5, 2.0).denoise(jnp.asarray(x), level)
    np.testing.assert_array_equal(got, np.minimum(np.maximum(x, -0.5), 2.0))
    for quantile, low, high in ((0.9, -1.0, 1.0), (0.5, -0.5, 2.0), (1.0, -1.0, 3.0)):
        middle, half = (low + high) / 2, (high - low) / 2
        s = np.percentile(np.abs(x - middle) / half, 100 * quantile)
        assert s > 1 or quantile == 0.5
        expected = middle + np.clip(x - middle, -half * max(s, 1), half * max(s, 1)) / max(s, 1)
        got = gd.Thresholded(model, quantile, low, high).denoise(jnp.asarray(x), level)
        np.testing.assert_allclose(got, expected, rtol=1e-12)
        assert (got >= low - 1e-12).all()
        assert (got <= high + 1e-12).all()
    for wrapped in (gd.Clipped(model, -50.0, 60.0), gd.Thresholded(model, 0.9, -50.0, 60.0)):
        np.testing.assert_allclose(wrapped.denoise(jnp.asarray(x), level), x, rtol=1e-12)


@pytest.mark.slow
def test_a_clipped_law_is_only_a_denoiser():
    """Its score is Tweedie's of the clipped answer, not the law's own; the dtype stays."""
    law, level, x = zoo.GAUSSIAN.model, gd.NoiseLevel(0.8, 0.6), jnp.asarray(X[:3])
    for wrapped in (gd.Clipped(law, -0.1, 0.1), gd.Thresholded(law, 0.5, -0.1, 0.1)):
        assert not isinstance(wrapped, gd.Distribution)
        x0 = wrapped.denoise(x, level)
        np.testing.assert_allclose(gd.score(wrapped, x, level), (0.8 * x0 - x) / 0.36, rtol=1e-12)
        small = zoo.cast((wrapped, x, level))
        assert small[0].denoise(*small[1:]).dtype == jnp.float32
