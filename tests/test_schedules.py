"""Schedules: inverses, rates, published definitions, and the digits of float32 near the clean end."""

import functools
import re

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff import losses
from gaussdiff.schedules import rates

PRESERVING = {name: zoo.SCHEDULES[name] for name in ("variance_preserving", "cosine", "discrete_betas")}


def linear_beta_alpha(t, beta_min=0.1, beta_max=20):
    """exp(-1/2 integral of beta) by quadrature of the published beta(t)."""
    beta = lambda u: mpmath.mpf(beta_min) + u * (mpmath.mpf(beta_max) - mpmath.mpf(beta_min))  # noqa: E731
    return mpmath.exp(-mpmath.quad(beta, [0, t]) / 2)


def cosine_pair(t, offset="0.008"):
    """Nichol & Dhariwal: alpha^2 = f(t) / f(0), f = cos^2((t + s) / (1 + s) pi / 2)."""
    s = mpmath.mpf(float(offset))
    f = lambda u: mpmath.cos((u + s) / (1 + s) * mpmath.pi / 2) ** 2  # noqa: E731
    return mpmath.sqrt(f(t) / f(0)), mpmath.sqrt(1 - f(t) / f(0))


def discrete_pair(i):
    """Products of 1 - beta in high precision: alpha^2 = prod (1 - beta_j)."""
    betas = np.linspace(1e-4, 0.02, 1000)
    product = mpmath.fprod(1 - mpmath.mpf(float(beta)) for beta in betas[:i])
    return mpmath.sqrt(product), mpmath.sqrt(1 - product)


@functools.cache
def table_log_alphas():
    """log alpha at the rows 0 to 1000, from the products in high precision."""
    with mpmath.workdps(50):
        rows, product = [mpmath.mpf(0)], mpmath.mpf(1)
        for beta in np.linspace(1e-4, 0.02, 1000):
            product *= 1 - mpmath.mpf(float(beta))
            rows.append(mpmath.log(product) / 2)
        return rows


def table_pair(t):
    """The table between its rows, log alpha linear in t."""
    rows, row = table_log_alphas(), min(int(1000 * t), 999)
    log_alpha = rows[row] + (1000 * t - row) * (rows[row + 1] - rows[row])
    return mpmath.exp(log_alpha), mpmath.sqrt(-mpmath.expm1(2 * log_alpha))


# the published definitions, (alpha, sigma) at t
DEFINITIONS = {
    "variance_preserving": lambda t: (linear_beta_alpha(t), mpmath.sqrt(1 - linear_beta_alpha(t) ** 2)),
    "cosine": cosine_pair,
    "sub_variance_preserving": lambda t: (linear_beta_alpha(t), 1 - linear_beta_alpha(t) ** 2),
    "variance_exploding": lambda t: (mpmath.mpf(1), t),
    "rectified_flow": lambda t: (1 - t, t),
    "discrete_betas": lambda t: discrete_pair(round(1000 * float(t))),
}


@pytest.fixture(autouse=True)
def digits():
    with mpmath.workdps(40):
        yield


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "rtol"), [(jnp.float64, 1e-12), (jnp.float32, 2e-6)], ids=["float64", "float32"])
@pytest.mark.parametrize("name", zoo.SCHEDULES)
def test_levels_are_those_of_the_publication(name, dtype, rtol):
    """In float32 sigma keeps its digits near t = 0 too, where 1 - alpha^2 has none."""
    times = [1e-3, 2e-3, 0.037, 0.5, 0.998]
    levels = zoo.cast(zoo.SCHEDULES[name], dtype)(jnp.array(times, dtype))
    assert levels.alpha.dtype == levels.sigma.dtype == dtype
    for t, level in zip(times, levels, strict=True):
        alpha, sigma = DEFINITIONS[name](mpmath.mpf(float(np.array(t, dtype))))
        # where alpha = exp(-5), its relative error is 5 roundings
        np.testing.assert_allclose([level.alpha, level.sigma], [float(alpha), float(sigma)], rtol=rtol * 5)


@pytest.mark.parametrize("name", ["variance_preserving", "cosine", "sub_variance_preserving"])
def test_float32_sigma_keeps_its_digits_at_a_millionth(name):
    t = np.float32(1e-6)
    level = zoo.cast(zoo.SCHEDULES[name])(jnp.asarray(t))
    expected = DEFINITIONS[name](mpmath.mpf(float(t)))[1]
    assert float(level.sigma) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.slow
@zoo.over(zoo.SCHEDULES)
def test_time_at_inverts_the_schedule(case):
    times = jnp.array([1e-5, 1e-3, 0.1, 0.37, 0.5, 0.9, 0.999])
    np.testing.assert_allclose(case.time_at(case(times).log_snr), times, rtol=1e-9)
    log_snr = jnp.array([-8.0, -3.0, 0.0, 2.0, 6.0])
    np.testing.assert_allclose(case(case.time_at(log_snr)).log_snr, log_snr, atol=1e-9)


@zoo.over(zoo.SCHEDULES)
def test_time_at_holds_at_both_ends(case):
    assert case.time_at(jnp.inf) == pytest.approx(0, abs=1e-12)
    assert case.time_at(case(case.end).log_snr) == pytest.approx(float(case.end), rel=1e-9)


def ratio_at(name, t):
    """sigma / alpha by the published definition."""
    alpha, sigma = (DEFINITIONS | {"discrete_betas": table_pair})[name](t)
    return sigma / alpha


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", zoo.SCHEDULES)
def test_time_at_is_the_inverse_of_the_published_definition(name, dtype):
    """In 50 digits sigma / alpha passes what is asked within 5 eps of the time: from tiny noise to nearly the end."""
    log_snr = jnp.array([20, 8, 2, 0, -3, -8], dtype)
    times = zoo.cast(zoo.SCHEDULES[name], dtype).time_at(log_snr)
    assert times.dtype == dtype
    eps = mpmath.mpf(float(jnp.finfo(dtype).eps))
    with mpmath.workdps(50):
        for asked, t in zip(log_snr, times, strict=True):
            t, ratio = mpmath.mpf(float(t)), mpmath.exp(-mpmath.mpf(float(asked)) / 2)
            assert ratio_at(name, t * (1 - 5 * eps)) < ratio < ratio_at(name, t * (1 + 5 * eps)), float(asked)


@pytest.mark.slow
@zoo.over(zoo.SCHEDULES)
def test_the_slope_of_time_at_is_one_over_that_of_log_snr(case):
    log_snr = jnp.array([6.0, 0.0, -2.5, -7.0])
    slopes = jax.vmap(jax.grad(case.time_at))(log_snr)
    level, rate = rates(case, case.time_at(log_snr))
    np.testing.assert_allclose(slopes * 2 * (rate.alpha / level.alpha - rate.sigma / level.sigma), 1, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
@zoo.over(zoo.SCHEDULES)
def test_a_level_at_an_end_but_for_rounding_is_at_the_end(case, dtype):
    """Within 8 roundings of the log-SNR of the end, and at the log-SNR of sigma = 0, eager and under jit."""
    schedule, eps = zoo.cast(case, dtype), jnp.finfo(dtype).eps
    end = jnp.asarray(schedule.end, dtype)
    log_snr = schedule(end).log_snr * (1 + eps * jnp.arange(-8, 9, dtype=dtype))
    for time_at in (schedule.time_at, lambda log_snr: jax.jit(lambda s, v: s.time_at(v))(schedule, log_snr)):
        times = time_at(log_snr)
        np.testing.assert_allclose(times, end, rtol=40 * eps)
        assert isinstance(schedule, gd.VarianceExploding) or (times <= end).all()
        assert np.isfinite(schedule(times).sigma).all()
        assert time_at(jnp.asarray(jnp.inf, dtype)) == 0
    assert np.isnan(time_at(jnp.asarray(jnp.nan, dtype)))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", ["variance_preserving", "sub_variance_preserving", "discrete_betas"])
def test_more_noise_than_a_schedule_has_is_an_error_and_never_another_level(name, dtype):
    """The error names the largest sigma / alpha, from which a grid can start. Under jit the level is right, or NaN."""
    schedule, largest = zoo.cast(zoo.SCHEDULES[name], dtype), float(ratio_at(name, mpmath.mpf(1)))
    level_of = jax.jit(lambda schedule, log_snr: schedule(schedule.time_at(log_snr)))
    for ratio in (1.001 * largest, 400.0, 1e30, np.inf):
        log_snr = jnp.asarray(-2 * np.log(ratio), dtype)
        with pytest.raises(ValueError, match=f"^log_snr: expected levels that {type(schedule).__name__} has") as error:
            schedule.time_at(jnp.stack([jnp.zeros_like(log_snr), log_snr]))
        limit, got = map(float, re.search(r"sigma / alpha <= (\S+), got (\S+)\. Start", str(error.value)).groups())
        assert limit == pytest.approx(largest, rel=2e-6 if dtype == jnp.float32 else 1e-8)
        assert got == pytest.approx(ratio, rel=1e-5)
        level = level_of(schedule, log_snr)
        if name == "discrete_betas":
            assert np.isnan(level.alpha)
            assert np.isnan(level.sigma)
        else:
            # -log alpha is half of the log-SNR, and so is its rounding in alpha
            np.testing.assert_allclose(level.alpha / level.sigma, 1 / ratio, rtol=200 * jnp.finfo(dtype).eps)
        framed = gd.reframe(gd.grids.karras(4, sigma_max=jnp.asarray(limit, dtype)), schedule)
        assert framed.sigma[0] == pytest.approx(float(schedule(1.0).sigma), rel=1e-6)


def test_variance_exploding_has_every_sigma_but_no_level_of_noise_alone():
    schedule = zoo.cast(gd.VarianceExploding())
    assert schedule.time_at(jnp.float32(-2 * np.log(1e30))) == pytest.approx(1e30, rel=1e-5)
    with pytest.raises(ValueError, match=r"^log_snr: expected levels that VarianceExploding has.*got inf\. Start"):
        gd.reframe(gd.NoiseLevel(0.0, 1.0), schedule)
    assert jax.jit(lambda schedule, v: schedule.time_at(v))(schedule, -jnp.inf) == jnp.inf


@zoo.over(zoo.SCHEDULES)
def test_time_0_is_clean_and_time_only_adds_noise(case):
    levels = case(jnp.linspace(0.0, case.end, 201))
    assert levels.alpha[0] == pytest.approx(1, abs=1e-15)
    assert levels.sigma[0] == 0
    assert (jnp.diff(levels.log_snr) < 0).all()
    assert (jnp.diff(levels.alpha) <= 0).all()
    assert (jnp.diff(levels.sigma) > 0).all()


def test_the_cosine_and_the_straight_line_end_in_noise_alone():
    for schedule in (gd.Cosine(), gd.RectifiedFlow()):
        assert schedule(1.0).alpha == 0
        assert schedule(1.0).sigma == pytest.approx(1, abs=1e-15)


@zoo.over(PRESERVING)
def test_variance_preserving_means_that_squares_add_up_to_one(case):
    levels = case(jnp.linspace(0.0, 1.0, 101))
    np.testing.assert_allclose(levels.alpha**2 + levels.sigma**2, 1, atol=1e-14)


def test_sub_variance_preserving_is_the_square():
    """Its sigma is that of the variance-preserving diffusion squared, and its variance never exceeds the latter's."""
    t = jnp.linspace(0.01, 1.0, 30)
    preserving, below = gd.VariancePreserving()(t), gd.SubVariancePreserving()(t)
    np.testing.assert_allclose(below.sigma, preserving.sigma**2, rtol=1e-13)
    np.testing.assert_allclose(below.alpha, preserving.alpha, rtol=1e-14)


@pytest.mark.slow
@zoo.over(zoo.SCHEDULES)
def test_rates_are_derivatives(case):
    """Against central differences, error O(1e-10) of step 1e-5; between the kinks of a table."""
    t, h = jnp.array([0.0123, 0.2504, 0.7006]), 1e-5
    level, rate = rates(case, t)
    up, down = case(t + h), case(t - h)
    np.testing.assert_allclose(rate.alpha, (up.alpha - down.alpha) / 2 / h, rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(rate.sigma, (up.sigma - down.sigma) / 2 / h, rtol=2e-6, atol=1e-9)
    np.testing.assert_allclose(level.alpha, case(t).alpha, rtol=1e-14)


def test_the_rates_of_variance_preserving_are_those_of_its_diffusion():
    """dx = -beta/2 x dt + sqrt(beta) dw: alpha' = -beta alpha / 2 and (sigma^2)' = beta (1 - sigma^2)."""
    t = jnp.array([0.1, 0.5, 0.9])
    level, rate = rates(gd.VariancePreserving(0.2, 10.0), t)
    beta = 0.2 + 9.8 * t
    np.testing.assert_allclose(rate.alpha, -beta * level.alpha / 2, rtol=1e-13)
    np.testing.assert_allclose(2 * level.sigma * rate.sigma, beta * (1 - level.sigma**2), rtol=1e-12)


def test_a_table_stands_at_its_own_times():
    betas = np.linspace(1e-4, 0.02, 1000)
    schedule = gd.DiscreteBetas(betas)
    for i in (1, 2, 500, 1000):
        alpha, sigma = discrete_pair(i)
        level = schedule(schedule.times[i])
        np.testing.assert_allclose([level.alpha, level.sigma], [float(alpha), float(sigma)], rtol=1e-12)
    single = zoo.cast(schedule)
    assert float(single(single.times[1]).sigma) == pytest.approx(0.01, rel=1e-5)


def test_a_level_iterates_and_indexes_like_its_arrays():
    levels = gd.NoiseLevel(1.0, jnp.array([3.0, 1.0, 0.0]))
    assert len(levels) == 3
    assert [float(level.sigma) for level in levels] == [3, 1, 0]
    assert levels[1:].sigma.shape == (2,)
    assert levels[0].log_snr == pytest.approx(-2 * np.log(3))
    assert gd.NoiseLevel(1.0, 0.0).log_snr == jnp.inf
    assert gd.NoiseLevel(0.0, 1.0).log_snr == -jnp.inf


@pytest.mark.slow
@zoo.over(zoo.SCHEDULES)
def test_schedules_work_under_jit_and_vmap_as_arguments(case):
    times = jnp.array([0.1, 0.5])
    eager = case(times)
    for levels in (jax.jit(lambda s, t: s(t))(case, times), jax.vmap(case)(times)):
        np.testing.assert_allclose(levels.alpha, eager.alpha, rtol=1e-14)
        np.testing.assert_allclose(levels.sigma, eager.sigma, rtol=1e-13)


@pytest.mark.parametrize("schedule", [gd.RectifiedFlow(), gd.VariancePreserving(), gd.VarianceExploding()])
def test_prior_samples_have_the_marginal_of_a_start(schedule):
    """sigma times white noise: 5 standard errors, a false alarm for one key in a million."""
    level, count = schedule(schedule.end), 20_000
    x = gd.sample_prior(jax.random.key(0), (count,), level) / level.sigma
    assert abs(float(x.mean())) < 5 / np.sqrt(count)
    assert abs(float((x**2).mean()) - 1) < 5 * np.sqrt(2 / count)


@pytest.mark.parametrize("at", ["variance_preserving", "exploding", "pure_noise", "clean"])
def test_add_noise_is_alpha_x0_plus_sigma_noise(at):
    """Moments over 20,000 draws within 5 standard errors, a false alarm for one key in 300,000."""
    level, count = zoo.LEVELS[at], 20_000
    x0 = jnp.array([1.5, -2.0])
    x = np.asarray(jax.vmap(gd.add_noise, (0, None, None))(jax.random.split(jax.random.key(1), count), x0, level))
    errors = float(level.sigma) / np.sqrt(count)
    assert (np.abs(x.mean(0) - level.alpha * x0) <= 5 * errors + 1e-12).all()
    assert (np.abs(x.var(0) - level.sigma**2) <= 5 * np.sqrt(2 / count) * level.sigma**2 + 1e-12).all()


SILENT_BETAS = {"three": [0.1, 0.3, 1.0], "one": [1.0], "thousand": [*np.linspace(1e-4, 0.02, 999), 1.0]}


def silent_pair(betas, t):
    """alpha from products of 1 - beta: log alpha linear in t between rows, and alpha itself before the last."""
    rows = [mpmath.mpf(1)]
    for beta in betas:
        rows.append(rows[-1] * mpmath.sqrt(1 - mpmath.mpf(float(beta))))
    row = min(int(t * len(betas)), len(betas) - 1)
    s = t * len(betas) - row
    last = row == len(betas) - 1
    alpha = rows[row] * (1 - s) if last else rows[row] ** (1 - s) * rows[row + 1] ** s
    return alpha, mpmath.sqrt((1 - alpha) * (1 + alpha))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("betas", SILENT_BETAS.values(), ids=SILENT_BETAS)
def test_a_table_whose_last_beta_is_1_ends_without_signal(betas, dtype):
    """Levels, inverses and slopes, at rows and between them, as the products in 40 digits have them."""
    schedule, n, eps = zoo.cast(gd.DiscreteBetas(betas), dtype), len(betas), float(jnp.finfo(dtype).eps)
    times = jnp.asarray([0.4 / n, (n - 1) / n + 0.3 / n, 1 - 0.1 / n, 1.0], dtype)
    levels, slopes = rates(schedule, times)
    again = schedule.time_at(levels.log_snr)
    inside_jit = jax.jit(lambda schedule, log_snr: schedule.time_at(log_snr))(schedule, levels.log_snr)
    for i, t in enumerate(times):
        exact = mpmath.mpf(float(t))
        alpha, sigma = silent_pair(betas, exact)
        # near the end 1 - t, in units of a row, is what alpha has its digits from
        rounding = 8 * eps * max(1.0, n * float(alpha) / max(float(alpha), 1e-30))
        np.testing.assert_allclose(levels.alpha[i], float(alpha), rtol=rounding, atol=0)
        np.testing.assert_allclose(levels.sigma[i], float(sigma), rtol=rounding)
        if t < 1:
            slope = mpmath.diff(lambda u: silent_pair(betas, u)[0], exact, h=mpmath.mpf(10) ** -12)
            np.testing.assert_allclose(slopes.alpha[i], float(slope), rtol=100 * rounding)
    np.testing.assert_allclose(again, times, rtol=20 * eps * n**0.5)
    np.testing.assert_allclose(inside_jit, times, rtol=20 * eps * n**0.5)
    assert (levels.alpha[-1], levels.sigma[-1], slopes.sigma[-1]) == (0, 1, 0)
    assert float(slopes.alpha[-1]) == pytest.approx(-n * float(silent_pair(betas, mpmath.mpf(n - 1) / n)[0]), rel=1e-4)
    assert schedule.time_at(-jnp.inf) == 1
    assert schedule(0.0).sigma == 0


@pytest.mark.slow
def test_what_uses_a_table_without_signal_at_its_end_is_finite():
    """Grids, the exact flow, the likelihood and its bound, the weights of losses, and the two samplers with a clock."""
    schedule, model, x = gd.DiscreteBetas([0.05, 0.2, 0.5, 0.8, 1.0]), zoo.GAUSSIAN.model, jnp.ones(3)
    grids = (
        gd.grids.trailing(schedule, 4),
        gd.grids.uniform_time(schedule, 4),
        gd.reframe(gd.grids.uniform_time(gd.RectifiedFlow(), 4), schedule),
    )
    for levels in grids:
        assert (levels[0].alpha, levels[0].sigma) == (0, 1)
        assert levels[0].log_snr == -jnp.inf
    for sampler in (gd.DEIS(2, schedule), gd.EulerMaruyama(schedule)):
        path = gd.sample(sampler, model, x, grids[0], jax.random.key(0))
        assert np.isfinite(jnp.concatenate([path.x, path.denoised])).all()
    fine = gd.sample(gd.Heun(), model, x, gd.grids.uniform_time(schedule, 200)).x[-1]
    np.testing.assert_allclose(fine, gd.gaussian_flow(model, x, schedule(1.0), schedule(0.0)), atol=2e-2)
    bound = gd.integrate.elbo(model, x, grids[0][:-1], jax.random.key(0))
    assert bound.prior == 0
    assert np.isfinite(bound.value)
    weights = (losses.noise_weight, losses.v_weight, losses.edm_weight, losses.min_snr_weight)
    np.testing.assert_allclose([weight(schedule(1.0)) for weight in weights], [0, 1, 4, 0])


def test_a_noise_prediction_is_refused_where_there_is_no_signal_and_works_before_it():
    levels = gd.grids.trailing(gd.DiscreteBetas([0.1, 0.5, 1.0]), 3)
    network, x = gd.FromNoisePrediction(lambda x, level: x / 2), jnp.ones(2)
    cure = r"predicts v or x0 there, or start at the next level: levels\[1:\]"
    with pytest.raises(ValueError, match=cure):
        network.denoise(x, levels[0])
    with pytest.raises(RuntimeError, match=cure):
        jax.block_until_ready(gd.sample(gd.Euler(), network, x, levels).x)
    assert np.isfinite(gd.sample(gd.Euler(), network, x, levels[1:]).x).all()
    v = gd.FromVPrediction(lambda x, level: x / 2)
    assert np.isfinite(gd.sample(gd.Euler(), v, x, levels).x).all()
