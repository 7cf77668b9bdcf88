"""Samplers: the algorithms of their names, their measured order, their calls of the model, every grid and every n."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from test_samplers_multistep import REFERENCES as MULTISTEP
from test_samplers_stochastic import REFERENCES as STOCHASTIC

import gaussdiff as gd

MEAN, VARIANCES = np.array([0.5, -1.0, 0.0, 2.0]), np.array([4.0, 1.0, 0.01, 0.0])
DIAGONAL = gd.Gaussian(MEAN, VARIANCES, np.eye(4))
X = np.array([1.0, -2.0, 0.7, 0.3])


# Independent NumPy references: one step function each, of the scalar arrays a, s (levels) and the denoiser D.
def wiener(x, a, s):
    return MEAN + a * VARIANCES / (a**2 * VARIANCES + s**2) * (x - a * MEAN)


def reference_ddim(x, a, s, noise, eta=0.0):
    """Song et al. eq. 12 with their alpha_t = a^2, sigma_t = eta sqrt((1-a'^2)/(1-a^2)) sqrt(1 - a^2/a'^2), via VE."""
    for i in range(len(a) - 1):
        x0 = wiener(x, a[i], s[i])
        y, before, after = x / a[i] if a[i] else None, s[i] / a[i] if a[i] else np.inf, s[i + 1] / a[i + 1]
        direction = (y - x0) / before if a[i] else x / s[i]
        kept = after * np.sqrt(1 - eta**2 * (1 - (after / before) ** 2))
        fresh = eta * after * np.sqrt(1 - (after / before) ** 2)
        x = a[i + 1] * (x0 + kept * direction + fresh * noise[i, 0])
    return x


def reference_heun(x, a, s, noise):
    """Trapezoidal rule for dx = da x0 + ds noise along the straight line between levels."""

    def slope(x, i, j):
        x0 = wiener(x, a[i], s[i])
        return (a[j + 1] - a[j]) * x0 + (s[j + 1] - s[j]) * (x - a[i] * x0) / s[i]

    for i in range(len(a) - 1):
        first = slope(x, i, i)
        x = x + first if s[i + 1] == 0 else x + (first + slope(x + first, i + 1, i)) / 2
    return x


def reference_2m(x, a, s, noise):
    """Lu et al., algorithm 2, in lambda = log(alpha / sigma): x = s'/s x - a' (e^-h - 1) D."""
    previous = previous_h = None
    for i in range(len(a) - 1):
        x0 = wiener(x, a[i], s[i])
        if a[i] == 0 or s[i + 1] == 0:
            h, estimate = np.inf, x0
        else:
            h = np.log(a[i + 1] / s[i + 1]) - np.log(a[i] / s[i])
            r = None if previous is None else previous_h / h
            estimate = x0 if r is None else (1 + 1 / (2 * r)) * x0 - 1 / (2 * r) * previous
        x = s[i + 1] / s[i] * x - a[i + 1] * np.expm1(-h) * estimate
        previous, previous_h = x0, h
    return x


def reference_exact(x, a, s, noise):
    start, end = (np.sqrt(a[i] ** 2 * VARIANCES + s[i] ** 2) for i in (0, -1))
    return a[-1] * MEAN + end / start * (x - a[0] * MEAN)


REFERENCES = {
    "euler": (gd.Euler(), reference_ddim),
    "ddim": (gd.DDIM(), reference_ddim),
    "ddim_half": (gd.DDIM(0.5), functools.partial(reference_ddim, eta=0.5)),
    "ddim_ancestral": (gd.DDIM(1.0), functools.partial(reference_ddim, eta=1.0)),
    "heun": (gd.Heun(), reference_heun),
    "dpmpp_2m": (gd.DPMSolverPP2M(), reference_2m),
    "gaussian_exact": (gd.GaussianExact(DIAGONAL), reference_exact),
}
FRAMES = {
    "alpha_1": gd.grids.karras,
    "alpha_1_to_sigma_min": functools.partial(gd.grids.karras, final_zero=False),
    "variance_preserving": lambda n: gd.grids.uniform_time(gd.VariancePreserving(), n),
    "cosine_from_pure_noise": lambda n: gd.grids.uniform_time(gd.Cosine(), n),
    "line_from_pure_noise": lambda n: gd.grids.uniform_time(gd.RectifiedFlow(), n),
}


@functools.cache
def every_frame(lengths) -> list[gd.NoiseLevel]:
    return jax.jit(lambda: [grid(n) for grid in FRAMES.values() for n in lengths])()


def without_noise(reference):
    return lambda x, a, s, noise: reference(x, a, s)


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [zoo.LENGTHS, zoo.exhaustive(zoo.SWEEP)], ids=["few", "many"])
@zoo.over(REFERENCES | {name: (own, without_noise(reference)) for name, (own, reference) in MULTISTEP.items()}, "pair")
def test_the_name_is_the_algorithm(pair, lengths):
    """Equal to an independent NumPy loop for n from 1 to 40, in every frame."""
    (sampler, reference), grids = pair, every_frame(lengths)
    starts = [float(levels.sigma[0]) * X for levels in grids]
    noise = np.random.default_rng(5).normal(size=(40, 1, 4))
    got, _ = zoo.along(sampler, DIAGONAL, np.stack(starts), grids, noise)
    for end, x, levels in zip(np.asarray(got), starts, grids, strict=True):
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = reference(x, np.asarray(levels.alpha), np.asarray(levels.sigma), noise)
        np.testing.assert_allclose(end, expected, rtol=1e-10, atol=1e-10, err_msg=f"n = {len(levels) - 1}")


def test_every_sampler_has_a_reference():
    tested = {type(sampler) for sampler, _ in (REFERENCES | MULTISTEP | STOCHASTIC).values()} | {gd.SwitchAt}
    assert tested == {type(sampler) for sampler in zoo.SAMPLERS.values()}


# multistep methods start with a step of DDIM, whose error of order 2 stays: theirs is order 2, whatever their weights
# (test_multistep has those that come to it slowly); a corrector mends that step, so UniPC-2 has order 3
ORDERS = {"euler": 1, "ddim": 1, "heun": 2, "dpmpp_2m": 2, "dpm_2": 2, "dpm_2_heun": 2, "dpm_3": 3, "dpmpp_2s": 2}
ORDERS |= {"dpmpp_3m": 2, "deis": 2, "unipc_2_bh1": 3, "linear_multistep": 1}


@functools.cache
def to_sigma_min(frame, *lengths) -> list[gd.NoiseLevel]:
    """Grids from sigma = 5 to 0.1."""
    grids = [gd.grids.uniform_log_snr(n, 0.1, 5.0, final_zero=False) for n in lengths]
    return [gd.reframe(one, gd.VariancePreserving()) for one in grids] if frame == "variance_preserving" else grids


def ends(sampler, law, frame, *lengths):
    """The ends of paths of these numbers of steps, by one program for both frames."""
    grids = to_sigma_min(frame, *lengths)
    starts = [levels.sigma[0] * np.array([1.0, -1.5, 0.5]) for levels in grids]
    return zoo.along(sampler, zoo.DISTRIBUTIONS[law].model, np.stack(starts), grids, np.zeros((max(lengths), 1, 3)))[0]


@functools.cache
def limit(law, frame):
    """The exact end: in closed form for the Gaussian, Heun's extrapolated from 512 and 1,024 steps for a mixture."""
    if law == "gaussian_full":
        (levels,) = to_sigma_min(frame, 1)
        return gd.gaussian_flow(
            zoo.GAUSSIAN.model, levels.sigma[0] * jnp.array([1.0, -1.5, 0.5]), levels[0], levels[-1]
        )
    coarse, fine = ends(gd.Heun(), law, frame, 512, 1024)
    return fine + (fine - coarse) / 3


@pytest.mark.slow
@pytest.mark.parametrize("law", ["gaussian_full", "mixture_full"])
@pytest.mark.parametrize("name", ORDERS)
def test_order_of_convergence(name, law):
    """log2 of the quotient of errors at n and 2n, to sigma_min = 0.1 from 5, is the order within 0.25."""
    for frame in ("alpha_1", "variance_preserving"):
        away = np.asarray(ends(zoo.SAMPLERS[name], law, frame, 64, 128)) - np.asarray(limit(law, frame))
        coarse, fine = np.linalg.norm(away, axis=1)
        assert np.log2(coarse / fine) == pytest.approx(ORDERS[name], abs=0.25), frame


@pytest.mark.slow
@zoo.over({name: name for name in zoo.GRIDS}, "grid")
def test_euler_is_ddim_in_every_frame(grid):
    (levels,) = zoo.grids(7)[grid]
    x = zoo.MIXTURE.x(levels[0])[0]
    a, b = (gd.sample(sampler, zoo.MIXTURE.model, x, levels) for sampler in (gd.Euler(), gd.DDIM(0.0)))
    scale = float(levels.sigma[0])
    np.testing.assert_allclose(a.x, b.x, rtol=1e-12, atol=1e-12 * scale)
    np.testing.assert_allclose(a.denoised, b.denoised, rtol=1e-10, atol=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [gd.DDIM(), gd.DDIM(0.7), gd.DPMSolverPP2M(), gd.Euler()], ids=repr)
def test_the_frame_does_not_matter(sampler):
    """x / alpha along the same log-SNRs, in the frames VE, VP, cosine and line, noise drawn included."""
    base = gd.grids.karras(9, 0.01, 20.0)
    x = zoo.MIXTURE.x(base[0])[0]
    key = jax.random.key(2)
    expected = gd.sample(sampler, zoo.MIXTURE.model, x, base, key).x
    for schedule in (gd.VariancePreserving(), gd.Cosine(), gd.RectifiedFlow()):
        levels = gd.reframe(base, schedule)
        path = gd.sample(sampler, zoo.MIXTURE.model, x * levels.alpha[0], levels, key).x
        np.testing.assert_allclose(path / levels.alpha[:, None], expected, rtol=1e-8, atol=1e-8)


flows = jax.jit(jax.vmap(gd.gaussian_flow, (None, None, None, 0)))


@pytest.mark.slow
@zoo.over({name: name for name in zoo.GRIDS}, "grid")
def test_gaussian_exact_is_the_flow_at_every_step(grid):
    (levels,) = zoo.grids(7)[grid]
    case = zoo.GAUSSIAN
    x = case.x(levels[0])[0]
    path = gd.sample(gd.GaussianExact(case.model), zoo.MIXTURE.model, x, levels)
    np.testing.assert_allclose(path.x, flows(case.model, x, levels[0], levels), rtol=1e-9, atol=1e-10)


@pytest.mark.slow
def test_switch_is_its_two_halves_run_by_hand():
    """The first sampler down to the last level at or before the switch, the second, fresh, from there."""
    levels, places = gd.grids.karras(10, 0.01, 50.0), (1, 4, 9)
    x, model = zoo.MIXTURE.x(levels[0])[0], zoo.MIXTURE.model
    for first, second in ((gd.Euler(), gd.DPMSolverPP2M()), (gd.GaussianExact(zoo.GAUSSIAN.model), gd.Heun())):
        head = gd.sample(first, model, x, levels)  # of which the part before the switch does not know the rest
        ends, denoised = zoo.along(
            second, model, head.x[np.array(places)], [levels[i:] for i in places], np.zeros((9, 1, 3))
        )
        for i, end, later in zip(places, ends, denoised, strict=True):
            joined = gd.sample(gd.SwitchAt(first, second, levels.log_snr[i]), model, x, levels)
            np.testing.assert_allclose(joined.x[: i + 1], head.x[: i + 1], rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(joined.x[-1], end, rtol=1e-12, atol=1e-13)
            expected = jnp.concatenate([head.denoised[:i], later[: 10 - i]])
            np.testing.assert_allclose(joined.denoised, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_switch_beyond_the_grid_is_one_sampler_alone():
    levels = gd.grids.karras(5)
    x, model = zoo.MIXTURE.x(levels[0])[0], zoo.MIXTURE.model
    for log_snr, alone in ((-jnp.inf, gd.Heun()), (jnp.inf, gd.Euler())):
        switched = gd.sample(gd.SwitchAt(gd.Euler(), gd.Heun(), log_snr), model, x, levels)
        np.testing.assert_allclose(switched.x, gd.sample(alone, model, x, levels).x, rtol=1e-13)


@jax.jit
def path_and_slopes(sampler, x, levels, seed):
    """A path of the zoo's Gaussian, |end|^2, and the gradients of that in x and in the levels: one program for all."""

    def power(x, levels):
        path = gd.sample(sampler, zoo.GAUSSIAN.model, x, levels, jax.random.key(seed))
        return jnp.sum(path.x[-1] ** 2), path

    (value, path), slopes = jax.value_and_grad(power, (0, 1), has_aux=True)(x, levels)
    return path, value, slopes


denoise_along = jax.jit(jax.vmap(zoo.GAUSSIAN.model.denoise))


@pytest.mark.slow
@zoo.over(zoo.SAMPLERS, "sampler")
def test_the_denoised_values_are_those_of_the_model_at_x(sampler):
    levels = gd.grids.karras(6)
    path, _, _ = path_and_slopes(sampler, zoo.GAUSSIAN.x(levels[0])[0], levels, 0)
    expected = denoise_along(path.x[:-1], levels[:-1])
    if isinstance(sampler, gd.EDMStochastic):
        return  # asks at noisier levels; its reference is in test_stochastic
    own = 1 if isinstance(sampler, gd.AFS) else 0  # whose first is analytic
    np.testing.assert_allclose(path.denoised[own:], expected[own:], rtol=1e-10, atol=1e-12)
    np.testing.assert_array_equal(path.levels.sigma, levels.sigma)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["euler", "ddim_half", "heun", "dpmpp_2m", "switch"])
def test_event_shapes_are_kept(name):
    for law in ("mixture_image", "empirical_scalar"):
        case = zoo.DISTRIBUTIONS[law]
        sampler = gd.SwitchAt(gd.Euler(), gd.Heun(), 0.0) if name == "switch" else zoo.SAMPLERS[name]
        path = gd.sample(sampler, case.model, jnp.ones(case.model.shape), gd.grids.karras(3), jax.random.key(0))
        assert path.x.shape == (4, *case.model.shape)
        assert path.denoised.shape == (3, *case.model.shape)


@pytest.mark.slow
def test_the_data_set_is_reproduced():
    """Every deterministic path under the ideal denoiser of a data set ends on one of its points."""
    case = zoo.DISTRIBUTIONS["empirical"]
    for sampler in (gd.Euler(), gd.Heun(), gd.DPMSolverPP2M()):
        end = gd.sample(sampler, case.model, jnp.array([70.0, -90.0, 20.0]), gd.grids.karras(20)).x[-1]
        assert np.linalg.norm(case.law.means - np.asarray(end), axis=1).min() < 1e-9


def test_ddim_with_eta_1_has_the_posterior_of_ddpm():
    """q(x' | x, x0) by Bayes' rule for Gaussians, in the frame VP: its mean and its variance, 5 standard errors.

    The false alarm is one key in 500,000.
    """
    schedule, count = gd.VariancePreserving(), 20_000
    levels = schedule(jnp.array([0.6, 0.5]))
    (a, s), (a2, s2) = ((float(level.alpha), float(level.sigma)) for level in levels)
    point = gd.Gaussian.isotropic(jnp.array([0.7]), 0.0)  # knows x0 = 0.7
    x = jnp.array([-0.4])
    step = jax.jit(jax.vmap(lambda key: gd.sample(gd.DDIM(1.0), point, x, levels, key).x[-1][0]))
    draws = np.asarray(step(jax.random.split(jax.random.key(0), count)))
    forward = s**2 - (a / a2) ** 2 * s2**2  # variance of x given x' : x = (a / a2) x' + ...
    variance = 1 / (1 / s2**2 + (a / a2) ** 2 / forward)
    mean = variance * (a2 * 0.7 / s2**2 + (a / a2) * -0.4 / forward)
    assert draws.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / count))
    assert draws.var() == pytest.approx(variance, abs=5 * variance * np.sqrt(2 / count))


@pytest.mark.slow
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_the_variance_of_a_stochastic_path_is_its_recursion(eta):
    """On a normal of variance 1.7 every step is x' = g x + b z, so V' = g^2 V + b^2. One key in 500,000 fails."""
    lam, count = 1.7, 20_000
    levels = gd.grids.karras(6, 0.05, 5.0)
    gaussian = gd.Gaussian.isotropic(jnp.zeros(1), lam)
    variance = 25.0
    for s, t in zip(levels.sigma[:-1].tolist(), levels.sigma[1:].tolist(), strict=True):
        kept = np.sqrt(t**2 - eta**2 * t**2 * (s**2 - t**2) / s**2)
        gain = lam / (lam + s**2) + kept * s / (lam + s**2)
        variance = gain**2 * variance + eta**2 * t**2 * (s**2 - t**2) / s**2
    one = lambda key, x: gd.sample(gd.DDIM(eta), gaussian, x, levels, key).x[-1][0]  # noqa: E731
    starts = 5 * jax.random.normal(jax.random.key(1), (count, 1))
    ends = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count), starts))
    assert ends.var() == pytest.approx(variance, abs=5 * variance * np.sqrt(2 / count))
    assert abs(ends.mean()) < 5 * np.sqrt(variance / count)


DRAWING = {"ddim_half", "ddim_ancestral", "ancestral", "exponential_sde", "dpmpp_sde", "dpmpp_2m_sde", "edm"}
DRAWING |= {"euler_maruyama", "langevin", "predictor_corrector"}


@pytest.mark.slow
@zoo.over({name: name for name in zoo.SAMPLERS}, "name")
def test_keys_matter_only_to_those_that_draw(name):
    sampler, levels, x = zoo.SAMPLERS[name], gd.grids.karras(6), jnp.ones(3)
    a, b = (path_and_slopes(sampler, x, levels, seed)[0].x[-1] for seed in (0, 1))
    assert bool(sampler.draws()) == (name in DRAWING)
    assert bool((a == b).all()) != bool(sampler.draws())


def test_a_sampler_that_does_not_draw_needs_no_key():
    levels, x = gd.grids.karras(6), jnp.ones(3)
    for sampler in (gd.DDIM(), gd.Heun()):
        expected = gd.sample(sampler, zoo.GAUSSIAN.model, x, levels, jax.random.key(0)).x
        np.testing.assert_allclose(gd.sample(sampler, zoo.GAUSSIAN.model, x, levels).x, expected, rtol=1e-13)


@pytest.mark.slow
def test_a_sample_does_not_depend_on_its_batch():
    """Sample i is the same alone and among 1, 8 or 64: the noise belongs to its own key."""
    levels, model = gd.grids.karras(5), zoo.MIXTURE.model
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(jnp.arange(64))
    starts = jax.vmap(lambda key: gd.sample_prior(key, (3,), levels[0]))(keys)
    batch = jax.vmap(gd.sample, in_axes=(None, None, 0, None, 0))
    whole = batch(gd.DDIM(1.0), model, starts, levels, keys).x
    for count in (1, 8):
        part = batch(gd.DDIM(1.0), model, starts[:count], levels, keys[:count]).x
        np.testing.assert_allclose(part, whole[:count], rtol=1e-12)
    alone = gd.sample(gd.DDIM(1.0), model, starts[3], levels, keys[3]).x
    np.testing.assert_allclose(alone, whole[3], rtol=1e-12)


class Counted(gd.Denoiser):
    """A Gaussian that counts how often it is really asked, also inside compiled code."""

    gaussian: gd.Gaussian
    calls: list = eqx.field(static=True)

    def denoise(self, x, level):
        jax.debug.callback(lambda _: self.calls.append(1), jnp.sum(x))
        return self.gaussian.denoise(x, level)


class Calls(list):
    """A list that is equal only to itself, so that it can be a static field."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


class Answered(gd.Denoiser):
    """The model that always gives one answer."""

    x0: jax.Array

    def denoise(self, x, level):
        return self.x0


ASKING = {
    **zoo.SAMPLERS,
    "afs_of_euler": gd.AFS(gd.Euler()),
    "switch_to_2m": gd.SwitchAt(gd.GaussianExact(zoo.GAUSSIAN.model), gd.DPMSolverPP2M(), 0.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKING)
def test_one_answer_where_a_step_starts_suffices_exactly_where_a_sampler_says_so(name):
    sampler, law, levels = ASKING[name], zoo.MIXTURE.model, gd.grids.karras(4, 0.1, 5.0)

    @jax.jit
    def differences(x):
        state, gaps = sampler.init(x, levels), []
        for i in range(4):
            noise = jax.random.normal(jax.random.key(i), (sampler.draws(), *x.shape))
            here = (x, state, levels[i], levels[i + 1], noise)
            step, other = (sampler.step(model, *here) for model in (law, Answered(law.denoise(x, levels[i]))))
            gaps.append(jnp.max(jnp.abs(step.x - other.x)))
            x, state = step.x, step.state
        return jnp.stack(gaps)

    gaps = differences(5 * jax.random.normal(jax.random.key(9), law.shape))
    assert sampler.asks_at_start == bool((gaps < 1e-9).all()), gaps
    if sampler.asks_at_start:
        assert sampler.nfe(5) - sampler.nfe(4) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in zoo.SAMPLERS if name != "switch"])
def test_the_model_is_called_as_often_as_nfe_says(name):
    """Alone, under jit, and for each sample of a batch with shared levels."""
    sampler, calls = zoo.SAMPLERS[name], Calls()
    model, key = Counted(zoo.GAUSSIAN.model, calls), jax.random.key(0)

    def count(function, *arguments):
        calls.clear()
        jax.block_until_ready(function(*arguments))
        jax.effects_barrier()
        return len(calls)

    def run(x, levels):
        return gd.sample(sampler, model, x, levels, key).x

    assert count(run, jnp.ones(3), gd.grids.karras(1)) == sampler.nfe(1)
    batch = jax.jit(jax.vmap(run, (0, None)))
    assert count(batch, jnp.ones((5, 3)), gd.grids.karras(4)) == 5 * sampler.nfe(4)


def test_a_switch_calls_only_the_sampler_in_charge():
    """Ten steps, four of them in closed form: Heun calls 2 * 6 - 1 times, and never more than nfe says."""
    calls, levels = Calls(), gd.grids.karras(10)
    model, gaussian = Counted(zoo.GAUSSIAN.model, calls), gd.GaussianExact(zoo.GAUSSIAN.model)
    sampler = gd.SwitchAt(gaussian, gd.Heun(), levels.log_snr[4])
    jax.block_until_ready(gd.sample(sampler, model, jnp.ones(3), levels))
    jax.effects_barrier()
    assert len(calls) == 11
    assert len(calls) <= sampler.nfe(10)


@pytest.mark.slow
@zoo.over(zoo.SAMPLERS, "sampler")
def test_gradients_through_a_path_to_sigma_0_are_finite_and_right(sampler):
    """In x and in sigma_max, through a grid that ends at sigma = 0: against central differences.

    Noise along a Brownian path has no derivative in the grid: samplers that draw are asked for that in x alone.
    """

    def grid(high):
        return gd.grids.karras(6, 0.02, high)

    def at(shift, high):
        return path_and_slopes(sampler, 10 * jnp.array([1.0, -1.5, 0.5]) + shift, grid(high), 0)[1:]

    value, (in_x, in_levels) = at(0.1, 11.0)
    moving = jax.jvp(grid, (11.0,), (1.0,))[1].sigma
    slopes = in_x.sum(), in_levels.sigma[:-1] @ moving[:-1]  # the last level stays 0
    h = 1e-4 if sampler.draws() else 1e-5  # the rounding of long stochastic paths would show in a shorter one
    moves = ((h, 0.0), (0.0, h))[: 1 if sampler.draws() else 2]
    assert np.isfinite(value)
    for slope, (dx, dh) in zip(slopes, moves, strict=False):
        expected = float(at(0.1 + dx, 11.0 + dh)[0] - at(0.1 - dx, 11.0 - dh)[0]) / 2 / h
        assert slope == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.slow
@zoo.over(zoo.DETERMINISTIC, "sampler")
def test_gradients_from_pure_noise_are_finite(sampler):
    levels = gd.grids.uniform_time(gd.RectifiedFlow(), 6)
    _, _, (in_x, in_levels) = path_and_slopes(sampler, jnp.ones(3), levels, 0)
    assert np.isfinite(in_x).all()
    # the interior of a grid is what is optimised; log_snr has no derivative at its infinite ends
    assert np.isfinite(in_levels.alpha[1:-1]).all()
    assert np.isfinite(in_levels.sigma[1:-1]).all()
