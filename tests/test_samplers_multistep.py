"""Samplers of higher order: the published algorithms in their own variables, and the identities between them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff.samplers._singlestep import between
from gaussdiff.samplers.multistep import gauss_legendre, polynomial_weights

MEAN, VARIANCES = np.array([0.5, -1.0, 0.0, 2.0]), np.array([4.0, 1.0, 0.01, 0.0])
DIAGONAL = gd.Gaussian(MEAN, VARIANCES, np.eye(4))
X = np.array([1.0, -2.0, 0.7, 0.3])
C = np.array([0.4, -0.1])
QUADRATURE = np.polynomial.legendre.leggauss(200)


# Independent NumPy references. A rule takes y = x / alpha from lam to lam', where lam = log(alpha / sigma), so that the
# noise scale of y is e^-lam; `past` holds (lam, data prediction, noise prediction), newest first, the present included.
def data(y, lam):
    return MEAN + VARIANCES / (VARIANCES + np.exp(-2 * lam)) * (y - MEAN)


def noise(y, lam):
    return (y - data(y, lam)) * np.exp(lam)


def reference(x, a, s, rule):
    """One rule all along, with DDIM for a step from alpha = 0, which is then forgotten, and for one to sigma = 0."""
    past = []
    for i in range(len(a) - 1):
        if a[i] == 0 or s[i + 1] == 0:
            x0 = MEAN if a[i] == 0 else data(x / a[i], np.log(a[i] / s[i]))
            x = a[i + 1] * x0 + s[i + 1] * (x - a[i] * x0) / s[i]
            continue
        y, lam, after = x / a[i], np.log(a[i] / s[i]), np.log(a[i + 1] / s[i + 1])
        past = [(lam, data(y, lam), noise(y, lam)), *past]
        x = a[i + 1] * rule(y, lam, after, past)
    return x


def dpm_2(y, lam, after, past, r):
    """Lu et al. 2206.00927, algorithm 1, in the frame alpha = 1."""
    h, eps = after - lam, past[0][2]
    middle = lam + r * h
    u = y - np.exp(-middle) * np.expm1(r * h) * eps
    change = noise(u, middle) - eps
    return y - np.exp(-after) * np.expm1(h) * (eps + change / (2 * r))


def dpm_3(y, lam, after, past):
    """Lu et al. 2206.00927, algorithm 2."""
    h, eps, r1, r2 = after - lam, past[0][2], 1 / 3, 2 / 3
    l1, l2 = lam + r1 * h, lam + r2 * h
    d1 = noise(y - np.exp(-l1) * np.expm1(r1 * h) * eps, l1) - eps
    u2 = y - np.exp(-l2) * (np.expm1(r2 * h) * eps + r2 / r1 * (np.expm1(r2 * h) / (r2 * h) - 1) * d1)
    d2 = noise(u2, l2) - eps
    return y - np.exp(-after) * (np.expm1(h) * eps + (np.expm1(h) / h - 1) / r2 * d2)


def dpmpp_2s(y, lam, after, past):
    """Lu et al. 2211.01095, algorithm 1 with r = 1/2."""
    h, x0 = after - lam, past[0][1]
    u = np.exp(-h / 2) * y - np.expm1(-h / 2) * x0
    return np.exp(-h) * y - np.expm1(-h) * data(u, lam + h / 2)


def dpmpp_3m(y, lam, after, past):
    """The third-order multistep update of 2211.01095's program, after one of first and one of second order."""
    h, x0 = after - lam, past[0][1]
    phi1 = np.expm1(-h)
    if len(past) == 1:
        return np.exp(-h) * y - phi1 * x0
    r0 = (lam - past[1][0]) / h
    d1_0 = (x0 - past[1][1]) / r0
    if len(past) == 2:
        return np.exp(-h) * y - phi1 * (x0 + d1_0 / 2)
    r1 = (past[1][0] - past[2][0]) / h
    d1_1 = (past[1][1] - past[2][1]) / r1
    d1, d2 = d1_0 + r0 / (r0 + r1) * (d1_0 - d1_1), (d1_0 - d1_1) / (r0 + r1)
    phi2 = phi1 / h + 1
    return np.exp(-h) * y - phi1 * x0 + phi2 * d1 - (phi2 / h - 0.5) * d2


def adams(y, lam, after, past, order):
    """int P ds, P the polynomial through the noises: its coefficients from a Vandermonde system, integrated by rule."""
    s = np.exp(-np.array([one[0] for one in past[:order]]))
    step = np.exp(-after) - s[0]
    powers = np.vander((s - s[0]) / step, increasing=True)
    coefficients = np.linalg.solve(powers, np.array([one[2] for one in past[:order]]))
    return y + step * sum(c / (k + 1) for k, c in enumerate(coefficients))


def ipndm(y, lam, after, past, order):
    weights = {1: [1], 2: [3 / 2, -1 / 2], 3: [23 / 12, -16 / 12, 5 / 12], 4: [55 / 24, -59 / 24, 37 / 24, -9 / 24]}
    used = past[:order]
    step = np.exp(-after) - np.exp(-lam)
    return y + step * sum(w * one[2] for w, one in zip(weights[len(used)], used, strict=True))


def deis(y, lam, after, past, order, low=0.1, high=20.0):
    """int P(t) ds/dt dt with s^2 = e^B - 1, B = low t + (high - low) t^2 / 2: VP. By 200 points in sqrt t."""

    def time(lam):
        return (np.sqrt(low**2 + 2 * (high - low) * np.logaddexp(0, -2 * lam)) - low) / (high - low)

    start, end = time(lam), time(after)
    nodes = (time(np.array([one[0] for one in past[:order]])) - start) / (end - start)
    coefficients = np.linalg.solve(np.vander(nodes, increasing=True), np.array([one[2] for one in past[:order]]))
    u, mass = QUADRATURE
    width = np.sqrt(end) - np.sqrt(start)
    root = np.sqrt(start) + (u + 1) / 2 * width
    t = root**2
    growth = low * t + (high - low) * t**2 / 2
    speed = np.exp(growth) * (low + (high - low) * t) / 2 / np.sqrt(np.expm1(growth))
    values = np.vander((t - start) / (end - start), len(nodes), increasing=True) @ coefficients
    return y + width * (mass * speed * root) @ values


def reference_unipc(x, a, s, order, variant):
    """Zhao et al. 2302.04867: R rho = b with b_k = k! h phi_(k+1) / B(h), rho = 1/2 for a single unknown."""

    def update(y, h, nodes, values):
        """y' from x0 = values[0] at node 0 and the others at nodes r, in units of h."""
        z, count = -h, len(nodes) - 1
        scale = z if variant == "bh1" else np.expm1(z)
        phi, b = np.expm1(z) / z - 1, []
        for k in range(1, count + 1):
            b.append(phi * np.prod(np.arange(1, k + 1)) / scale)
            phi = phi / z - 1 / np.prod(np.arange(1, k + 2))
        rho = [0.5] if count == 1 else np.linalg.solve(np.vander(nodes[1:], count, increasing=True).T, b)
        ratios = [(v - values[0]) / r for v, r in zip(values[1:], nodes[1:], strict=True)]
        change = sum((p * d for p, d in zip(rho, ratios, strict=True)), np.zeros_like(y)) if count else 0
        return np.exp(z) * y - np.expm1(z) * values[0] - scale * change

    past, before = [], None
    for i in range(len(a) - 1):
        if a[i] == 0:
            x = a[1] * MEAN + s[1] * x / s[0]
            continue
        y, lam = x / a[i], np.log(a[i] / s[i])
        x0 = data(y, lam)
        if past:
            h = lam - past[0][0]
            used = past[:order]
            nodes = [(one[0] - past[0][0]) / h for one in used]
            y = update(before, h, [*nodes, 1.0], [*(one[1] for one in used), x0])
        past, before = [(lam, x0), *past], y
        if s[i + 1] == 0:
            return x0
        h = np.log(a[i + 1] / s[i + 1]) - lam
        used = past[:order]
        x = a[i + 1] * update(y, h, [(one[0] - lam) / h for one in used], [one[1] for one in used])
    return x


def reference_linear(x, a, s):
    past = []
    for i in range(len(a) - 1):
        past = [MEAN if a[i] == 0 else data(x / a[i], np.log(a[i] / s[i])), *past]
        guess = past[0] + sum(c * (past[0] - old) for c, old in zip(C, past[1:], strict=False))
        ratio = s[i + 1] / s[i]
        x = ratio * x + (a[i + 1] - a[i] * ratio) * guess
    return x


def reference_afs(x, a, s):
    """Heun along the line between levels, with x / sqrt(alpha^2 + sigma^2) for the first noise."""
    for i in range(len(a) - 1):
        da, ds = a[i + 1] - a[i], s[i + 1] - s[i]
        if i == 0:
            eps = x / np.hypot(a[0], s[0])
            x0 = (x - s[0] * eps) / a[0] if a[0] else np.zeros(4)
        else:
            x0 = data(x / a[i], np.log(a[i] / s[i]))
            eps = (x - a[i] * x0) / s[i]
        end = x + da * x0 + ds * eps
        if s[i + 1] > 0:
            later = data(end / a[i + 1], np.log(a[i + 1] / s[i + 1]))
            end = x + (da * (x0 + later) + ds * (eps + (end - a[i + 1] * later) / s[i + 1])) / 2
        x = end
    return x


def by(rule, **arguments):
    return functools.partial(reference, rule=functools.partial(rule, **arguments))


REFERENCES = {
    "dpm_2": (gd.DPMSolver2(), by(dpm_2, r=0.5)),
    "dpm_2_third": (gd.DPMSolver2(0.3), by(dpm_2, r=0.3)),
    "dpm_3": (gd.DPMSolver3(), by(dpm_3)),
    "dpmpp_2s": (gd.DPMSolverPP2S(), by(dpmpp_2s)),
    "dpmpp_3m": (gd.DPMSolverPP3M(), by(dpmpp_3m)),
    "adams_bashforth_4": (gd.AdamsBashforth(), by(adams, order=4)),
    "adams_bashforth_2": (gd.AdamsBashforth(2), by(adams, order=2)),
    "ipndm_4": (gd.IPNDM(), by(ipndm, order=4)),
    "ipndm_3": (gd.IPNDM(3), by(ipndm, order=3)),
    "deis_3": (gd.DEIS(), by(deis, order=3)),
    "deis_4": (gd.DEIS(4, gd.VariancePreserving(0.2, 15.0)), by(deis, order=4, low=0.2, high=15.0)),
    **{
        f"unipc_{order}_{variant}": (
            gd.UniPC(order, variant),
            functools.partial(reference_unipc, order=order, variant=variant),
        )
        for order in (1, 2, 3)
        for variant in ("bh1", "bh2")
    },
    "linear_multistep": (gd.LinearMultistep(C), reference_linear),
    "afs": (gd.AFS(gd.Heun()), reference_afs),
}
FRAMES = {
    "alpha_1": gd.grids.karras,
    "cosine_from_pure_noise": lambda n: gd.grids.uniform_time(gd.Cosine(), n),
}
NEW = {name: zoo.SAMPLERS[name] for name in (
    *("dpm_2", "dpm_3", "dpmpp_2s", "dpmpp_3m", "adams_bashforth", "ipndm", "deis", "unipc", "unipc_2_bh1"),
    "linear_multistep",
)}  # fmt: skip


@pytest.mark.slow
@zoo.over(NEW, "sampler")
def test_the_frame_does_not_matter(sampler):
    """x / alpha along the same log-SNRs, in the frames VE, VP, cosine and line."""
    base = gd.grids.karras(9, 0.01, 20.0)
    x = zoo.MIXTURE.x(base[0])[0]
    expected = gd.sample(sampler, zoo.MIXTURE.model, x, base).x
    for schedule in (gd.VariancePreserving(), gd.Cosine(), gd.RectifiedFlow()):
        levels = gd.reframe(base, schedule)
        path = gd.sample(sampler, zoo.MIXTURE.model, x * levels.alpha[0], levels)
        np.testing.assert_allclose(path.x / levels.alpha[:, None], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@zoo.over(NEW, "sampler")
def test_a_data_set_is_reproduced(sampler):
    case = zoo.DISTRIBUTIONS["empirical"]
    end = gd.sample(sampler, case.model, jnp.array([70.0, -90.0, 20.0]), gd.grids.karras(20)).x[-1]
    # a linear multistep solver extrapolates to sigma = 0 as it is told
    assert np.linalg.norm(case.law.means - np.asarray(end), axis=1).min() < 1e-9


def same(a, b, levels, rtol=1e-12):
    x, model = zoo.MIXTURE.x(levels[0])[0], zoo.MIXTURE.model
    np.testing.assert_allclose(
        gd.sample(a, model, x, levels).x,
        gd.sample(b, model, x, levels).x,
        rtol=rtol,
        atol=rtol * float(levels.sigma[0]),
    )


@pytest.mark.slow
def test_dpm_solver_2_at_the_end_of_the_step_is_heun():
    """In the frame alpha = 1."""
    for n in (1, 6):
        same(gd.DPMSolver2(1.0), gd.Heun(), gd.grids.karras(n))


@pytest.mark.slow
@pytest.mark.parametrize("grid", [gd.grids.karras, FRAMES["cosine_from_pure_noise"]], ids=["alpha_1", "cosine"])
def test_what_has_order_1_is_ddim(grid):
    for sampler in (gd.AdamsBashforth(1), gd.IPNDM(1), gd.DEIS(1), gd.LinearMultistep(np.zeros((7, 2)))):
        same(sampler, gd.DDIM(), grid(7))


@pytest.mark.slow
def test_every_first_multistep_prediction_is_ddim():
    """UniPC's too: it corrects only with what it learns in the next step."""
    levels, x = gd.grids.karras(4), 80 * jnp.ones(3)
    expected = gd.sample(gd.DDIM(), zoo.MIXTURE.model, x, levels).x[1]
    for sampler in (gd.UniPC(), gd.UniPC(1, "bh1"), gd.DPMSolverPP3M(), gd.IPNDM(), gd.DEIS(), gd.AdamsBashforth()):
        np.testing.assert_allclose(gd.sample(sampler, zoo.MIXTURE.model, x, levels).x[1], expected, rtol=1e-12)


@pytest.mark.slow
def test_even_steps_make_adams_bashforth_ipndm():
    levels = gd.grids.karras(9, 0.1, 10.0, rho=1.0, final_zero=False)
    for order in (1, 2, 3, 4):
        same(gd.AdamsBashforth(order), gd.IPNDM(order), levels)
    even = polynomial_weights(-jnp.arange(4.0), *gauss_legendre(float))
    np.testing.assert_allclose(24 * even, [55, -59, 37, -9], rtol=1e-12)


@pytest.mark.slow
def test_deis_in_the_time_of_variance_exploding_is_adams_bashforth():
    for order in (2, 4):
        same(gd.DEIS(order, gd.VarianceExploding()), gd.AdamsBashforth(order), gd.grids.karras(8), 1e-11)


class InTime(gd.Denoiser):
    """A noise that is a power of a schedule's time."""

    schedule: gd.Schedule
    power: jax.Array

    def denoise(self, x, level):
        return (x - level.sigma * self.schedule.time_at(level.log_snr) ** self.power) / level.alpha


@pytest.mark.slow
@zoo.over({name: one for name, one in zoo.SCHEDULES.items() if name != "discrete_betas"}, "schedule")
def test_deis_is_exact_for_polynomials_in_time(schedule):
    """int tau^k ds to degree order - 1, with 400 points in log s; k = 0 says that the weights sum to the step."""
    levels = gd.grids.karras(4, 0.01, 20.0, final_zero=False)
    u, mass = np.polynomial.legendre.leggauss(400)
    log_s = np.log(np.asarray(levels.sigma))
    for power in (0.0, 1.0, 2.0):
        x = gd.sample(gd.DEIS(3, schedule), InTime(schedule, jnp.asarray(power)), jnp.ones(1), levels).x[:, 0]
        for i in (2, 3):
            points = log_s[i] + (u + 1) / 2 * (log_s[i + 1] - log_s[i])
            tau = np.asarray(schedule.time_at(jnp.asarray(-2 * points)))
            expected = (log_s[i + 1] - log_s[i]) / 2 * np.sum(mass * np.exp(points) * tau**power)
            assert float(x[i + 1] - x[i]) == pytest.approx(expected, rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [gd.DPMSolverPP3M(), gd.UniPC(), gd.AdamsBashforth()], ids=repr)
def test_gradients_are_finite_where_levels_are_powers_of_2(sampler):
    """Where the levels made up for values that are not there yet could meet those that are."""

    def end(shift, levels):
        return jnp.sum(gd.sample(sampler, zoo.GAUSSIAN.model, 16 * jnp.ones(3) + shift, levels).x[-1] ** 2)

    for factor in (2.0, 4.0):
        levels = gd.NoiseLevel(1.0, 16 * factor ** -jnp.arange(4.0))
        for leaf in jax.tree.leaves(jax.jit(jax.grad(end, (0, 1)))(0.0, levels)):
            assert np.isfinite(leaf).all()


class Known(gd.Denoiser):
    """An image, or a noise, that depends on the level alone: the flow is an integral."""

    powers: jax.Array
    of_noise: jax.Array

    def denoise(self, x, level):
        s = level.sigma / level.alpha
        image = jnp.polyval(self.powers, -jnp.log(s))
        return jnp.where(self.of_noise, x / level.alpha - s * jnp.polyval(self.powers, s), image)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_adams_bashforth_is_exact_for_polynomials(order):
    """Noise of degree order - 1 in s, on uneven steps, once there are so many values."""
    levels = gd.grids.karras(8, 0.1, 3.0, final_zero=False)
    powers = np.array([0.7, -1.3, 0.4, 2.0])[:order]
    x = gd.sample(gd.AdamsBashforth(order), Known(jnp.asarray(powers), jnp.asarray(True)), jnp.ones(1), levels).x
    integral = np.polyval(np.polyint(powers), np.asarray(levels.sigma))
    np.testing.assert_allclose(np.diff(x[:, 0])[order - 1 :], np.diff(integral)[order - 1 :], rtol=1e-11, atol=1e-12)


def test_the_quadratic_term_of_3m_counts_half():
    """For x0 = lambda^2 the exact integral has 2 phi3 D2, D2 = h^2, where the published method has phi3 D2."""
    levels = gd.grids.karras(8, 0.1, 3.0, final_zero=False)
    model = Known(jnp.array([1.0, 0.0, 0.0]), jnp.asarray(False))
    x, lam = np.asarray(gd.sample(gd.DPMSolverPP3M(), model, jnp.ones(1), levels).x[:, 0]), -np.log(levels.sigma)
    lam, h = np.asarray(lam), np.diff(lam)
    growth = np.exp(lam) * (lam**2 - 2 * lam + 2)  # the integral of e^l l^2
    exact = np.exp(-h) * x[:-1] + np.exp(-lam[1:]) * np.diff(growth)
    phi3 = (np.expm1(-h) / h + 1) / h - 0.5
    np.testing.assert_allclose((x[1:] - exact)[2:], (phi3 * h**2)[2:], rtol=1e-9)


TWO = 512, 1024


@pytest.mark.slow
@pytest.mark.parametrize(("name", "order"), [("adams_bashforth", 2), ("ipndm", 2), ("unipc", 3)])
def test_order_where_it_comes_slowly(name, order):
    """The first step's error, of order 2 (3 with its corrector), outlives the better steps after it."""
    start, grids = jnp.array([5.0, -7.5, 2.5]), [gd.grids.uniform_log_snr(n, 0.1, 5.0, final_zero=False) for n in TWO]
    exact = gd.gaussian_flow(zoo.GAUSSIAN.model, start, grids[0][0], grids[0][-1])
    sampler, noise = zoo.SAMPLERS[name], np.zeros((TWO[1], 0, 3))
    ends, _ = zoo.along(sampler, zoo.GAUSSIAN.model, np.stack([start, start]), grids, noise)
    coarse, fine = np.linalg.norm(np.asarray(ends) - np.asarray(exact), axis=1)
    assert np.log2(coarse / fine) == pytest.approx(order, abs=0.25)


@zoo.over({name: zoo.SCHEDULES[name] for name in ("variance_exploding", "variance_preserving", "cosine")}, "schedule")
def test_the_levels_between_stay_in_the_frame(schedule):
    """They have the wanted log-SNR, and are levels of the schedule where alpha = 1 or alpha^2 + sigma^2 = 1."""
    level, after = schedule(0.9), schedule(0.2)
    for r in (0.1, 1 / 3, 0.5, 1.0):
        middle = between(level, after, r)
        wanted = (1 - r) * level.log_snr + r * after.log_snr
        expected = schedule(schedule.time_at(wanted))
        np.testing.assert_allclose([middle.alpha, middle.sigma], [expected.alpha, expected.sigma], rtol=1e-12)


def test_a_linear_multistep_can_be_2m():
    levels = gd.grids.karras(6)
    h = -np.diff(np.log(np.asarray(levels.sigma[:-1])))
    rows = np.zeros((6, 1))
    rows[1:-1, 0] = h[1:] / (2 * h[:-1])
    same(gd.LinearMultistep(rows), gd.DPMSolverPP2M(), levels)


@pytest.mark.slow
def test_the_coefficients_can_be_optimised():
    """A few steps of gradient descent from DDIM lower the squared error, and nothing compiles for new coefficients."""
    levels, x, model = gd.grids.karras(5, 0.1, 10.0), jnp.array([10.0, -15.0, 5.0]), zoo.GAUSSIAN.model
    exact = gd.gaussian_flow(model, x, levels[0], levels[-1])

    @jax.jit
    def loss(c):
        return jnp.sum((gd.sample(gd.LinearMultistep(c), model, x, levels).x[-1] - exact) ** 2)

    c = jnp.zeros((5, 2))
    slope = jax.grad(loss)(c)
    assert np.isfinite(slope).all()
    # what reaches back before the start has no effect, every other coefficient has one
    np.testing.assert_array_equal(slope != 0, [[0, 0], [1, 0], [1, 1], [1, 1], [1, 1]])
    direction = slope / jnp.linalg.norm(slope)
    assert float(loss(c - 1e-3 * direction)) < float(loss(c))
    assert loss._cache_size() == 1


@pytest.mark.slow
def test_a_first_step_without_the_model():
    """On a standard normal AFS changes nothing; and the start is not looked at where the model is not asked."""
    normal, levels = gd.Gaussian.isotropic(jnp.zeros(3), 1.0), gd.reframe(gd.grids.karras(5, 0.1, 10.0), gd.Cosine())
    x = jnp.array([0.3, -1.0, 2.0])
    for sampler in (gd.Heun(), gd.DDIM(0.5), gd.UniPC(), gd.DPMSolver3(), gd.SwitchAt(gd.Heun(), gd.IPNDM(), 0.0)):
        key = jax.random.key(0)
        r = float(jnp.hypot(levels.alpha[0], levels.sigma[0]))
        first = gd.sample(gd.AFS(sampler), normal, x, levels, key)
        analytic = x * levels.alpha[0] / (r * (r + levels.sigma[0]))
        np.testing.assert_allclose(first.denoised[0], analytic, rtol=1e-12)
        assert gd.AFS(sampler).nfe(5) == sampler.nfe(5) - 1


def test_unipc_keeps_a_float32_sample_on_a_float64_grid():
    gaussian, levels = gd.Gaussian.isotropic(jnp.zeros(3), 1.0), gd.grids.karras(5)
    assert levels.sigma.dtype == jnp.float64
    found = gd.sample(gd.UniPC(), gaussian, jnp.full(3, 80, jnp.float32), levels)
    assert found.x.dtype == found.denoised.dtype == jnp.float32
