"""Inversion: samplers that run a grid from data to noise."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo
from test_samplers import ORDERS, Calls, Counted

import gaussdiff as gd

INVERTIBLE = {name: sampler for name, sampler in zoo.DETERMINISTIC.items() if name != "afs"}
SLOWLY = {"deis": 2, "adams_bashforth": 2, "ipndm": 2, "unipc": 3}
X = jnp.array([0.4, -0.9, 1.3])


@functools.cache
def grid(n, frame="alpha_1"):
    levels = gd.grids.uniform_log_snr(n, 0.1, 5.0, final_zero=False)
    return gd.reframe(levels, gd.VariancePreserving()) if frame == "variance_preserving" else levels


@functools.cache
def limit(law, frame):
    """Where the flow carries X at sigma = 0.1: in closed form, for a mixture Heun's, extrapolated from two runs."""
    levels = grid(1, frame)
    if law == "gaussian_full":
        return gd.gaussian_flow(zoo.GAUSSIAN.model, X, levels[-1], levels[0])
    coarse, fine = (gd.invert(gd.Heun(), zoo.MIXTURE.model, X, grid(n, frame)).x[-1] for n in (512, 1024))
    return fine + (fine - coarse) / 3


def measured_order(name, law, frame, n):
    """log2 of the quotient of errors at n and 2n steps, which one program makes."""
    rising = [grid(n, frame)[::-1], grid(2 * n, frame)[::-1]]
    model, noise = zoo.DISTRIBUTIONS[law].model, np.zeros((2 * n, 1, 3))
    ends, _ = zoo.along(zoo.SAMPLERS[name], model, np.stack([X, X]), rising, noise)
    coarse, fine = np.linalg.norm(np.asarray(ends) - np.asarray(limit(law, frame)), axis=1)
    return np.log2(coarse / fine)


@pytest.mark.slow
@pytest.mark.parametrize(("law", "frame"), [("gaussian_full", "variance_preserving"), ("mixture_full", "alpha_1")])
@pytest.mark.parametrize("name", [name for name in ORDERS if name not in SLOWLY])
def test_the_order_of_inversion_is_that_of_sampling(name, law, frame):
    """From sigma = 0.1 to 5, within 0.25; gd.invert is the path along the grid turned round, which others show."""
    assert measured_order(name, law, frame, 64) == pytest.approx(ORDERS[name], abs=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOWLY)
def test_order_where_it_comes_slowly(name):
    assert measured_order(name, "gaussian_full", "alpha_1", 1024) == pytest.approx(SLOWLY[name], abs=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("name", INVERTIBLE)
def test_sampling_from_the_end_of_an_inversion_leads_back(name):
    """The distance of the round trip falls with the steps at the order at least: even orders cancel in part."""
    model, sampler, noise = zoo.MIXTURE.model, INVERTIBLE[name], np.zeros((128, 1, 3))
    falling = [grid(n) for n in (64, 128)]
    up, _ = zoo.along(sampler, model, np.stack([X, X]), [levels[::-1] for levels in falling], noise)
    distances = np.linalg.norm(np.asarray(zoo.along(sampler, model, up, falling, noise)[0]) - np.asarray(X), axis=1)
    if name == "gaussian_exact":
        assert max(distances) < 1e-12
    else:
        order = (ORDERS | SLOWLY).get(name, 2)
        assert distances[1] < (1e-3 if order > 1 else 0.1)
        assert np.log2(distances[0] / distances[1]) > min(order, 2) - 0.4


flows = jax.jit(jax.vmap(gd.gaussian_flow, (None, None, None, 0)))


@pytest.mark.slow
@zoo.over({name: name for name in zoo.GRIDS}, "name")
def test_the_exact_sampler_inverts_along_the_flow(name):
    """Up to alpha = 0 where the grid starts there, from sigma = 0 where it ends there; and back, to rounding."""
    case, (levels,) = zoo.GAUSSIAN, zoo.grids(6)[name]
    x, sampler = levels.alpha[-1] * X, gd.GaussianExact(case.model)
    up = gd.invert(sampler, zoo.MIXTURE.model, x, levels)
    expected = flows(case.model, x, levels[-1], levels[::-1])
    np.testing.assert_allclose(up.x, expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(up.levels.sigma, levels.sigma[::-1])
    down = gd.sample(sampler, zoo.MIXTURE.model, up.x[-1], levels)
    np.testing.assert_allclose(down.x[::-1], up.x, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@zoo.over(INVERTIBLE, "sampler")
def test_what_is_seen_at_sigma_0_is_forgotten(sampler):
    """The path from the clean sample is the first step, and then the path of one who starts there."""
    if isinstance(sampler, gd.LinearMultistep):
        return  # it extrapolates as it is told
    levels, model = gd.grids.karras(5, 0.02, 20.0), zoo.MIXTURE.model
    whole = gd.invert(sampler, model, X, levels)
    if not isinstance(sampler, (gd.Heun, gd.GaussianExact, gd.SwitchAt)):
        np.testing.assert_allclose(whole.x[1], X, rtol=1e-14)  # no noise: x / alpha stays
    rest = gd.invert(sampler, model, whole.x[1], levels[:-1])
    np.testing.assert_allclose(whole.x[1:], rest.x, rtol=1e-12)


@pytest.mark.slow
@zoo.over(INVERTIBLE, "sampler")
def test_the_last_step_to_pure_noise_keeps_the_noise(sampler):
    """x' = sigma' noise with the noise that the model sees at the last level, but for those that know better."""
    levels, model = gd.grids.uniform_time(gd.Cosine(), 5), zoo.GAUSSIAN.model
    path = gd.invert(sampler, model, X, levels)
    last = gd.noise(model, path.x[-2], path.levels[-2])
    if not isinstance(sampler, (gd.Heun, gd.GaussianExact, gd.SwitchAt, gd.LinearMultistep, gd.UniPC)):
        np.testing.assert_allclose(path.x[-1], path.levels.sigma[-1] * last, rtol=1e-10)
    exact = gd.gaussian_flow(model, X, levels[-1], levels[0])
    # UniPC corrects x before it takes the noise; Heun averages; all agree with the flow as far as five steps do
    np.testing.assert_allclose(path.x[-1], exact, atol=0.7)


@pytest.mark.slow
def test_a_switch_is_at_one_level_in_both_directions():
    """The second sampler up to the last level at or before the switch, then the first."""
    levels, model = gd.grids.karras(10, 0.01, 50.0), zoo.MIXTURE.model
    places = 1, 4, 9
    for first, second in ((gd.Euler(), gd.DPMSolverPP2M()), (gd.GaussianExact(zoo.GAUSSIAN.model), gd.Heun())):
        head = gd.invert(second, model, X, levels).x  # of which the part before the switch does not know the rest
        starts = head[10 - np.array(places)]
        ends, _ = zoo.along(first, model, starts, [levels[i::-1] for i in places], np.zeros((9, 1, 3)))
        for i, end in zip(places, ends, strict=True):
            joined = gd.invert(gd.SwitchAt(first, second, levels.log_snr[i]), model, X, levels).x
            np.testing.assert_allclose(joined[: 11 - i], head[: 11 - i], rtol=1e-12, atol=1e-13)
            np.testing.assert_allclose(joined[-1], end, rtol=1e-12, atol=1e-13)


@pytest.mark.slow
def test_the_rows_of_a_linear_multistep_count_the_steps_taken():
    levels = gd.grids.karras(6)
    h = np.diff(np.log(np.asarray(levels.sigma[-2::-1])))
    rows = np.zeros((6, 1))
    rows[2:, 0] = h[1:] / (2 * h[:-1])
    a, b = (gd.invert(one, zoo.MIXTURE.model, X, levels).x for one in (gd.LinearMultistep(rows), gd.DPMSolverPP2M()))
    np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.slow
def test_a_frame_does_not_matter():
    base = gd.grids.karras(7, 0.01, 20.0)
    expected = gd.invert(gd.DPMSolver2(), zoo.MIXTURE.model, X, base).x
    for schedule in (gd.VariancePreserving(), gd.RectifiedFlow()):
        levels = gd.reframe(base, schedule)
        path = gd.invert(gd.DPMSolver2(), zoo.MIXTURE.model, levels.alpha[-1] * X, levels)
        np.testing.assert_allclose(path.x / path.levels.alpha[:, None], expected, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddim", "heun", "dpm_3", "unipc", "gaussian_exact"])
def test_the_calls_of_the_model(name):
    """As many as gd.sample makes, but one more for Heun, who also looks at the end of the step from sigma = 0."""
    sampler, calls = INVERTIBLE[name], Calls()
    for n in (1, 4):
        calls.clear()
        path = gd.invert(sampler, Counted(zoo.GAUSSIAN.model, calls), X, gd.grids.karras(n))
        jax.block_until_ready(path)
        jax.effects_barrier()
        assert len(calls) == sampler.nfe(n) + (name == "heun")


def test_both_directions_are_one_compilation():
    traces, levels = Calls(), gd.grids.karras(5)
    model = gd.FromVPrediction(lambda x, level: traces.append(1) or level.alpha * x)
    down = gd.sample(gd.Euler(), model, X, levels)
    count = len(traces)
    assert count
    gd.invert(gd.Euler(), model, down.x[-1], gd.grids.karras(5, 0.1, 7.0))
    assert len(traces) == count


@pytest.mark.slow
def test_what_cannot_be_inverted_says_what_to_do(unchecked):
    levels, model = gd.grids.karras(3), zoo.GAUSSIAN.model
    with pytest.raises(ValueError, match=r"sampler: expected a deterministic.* got DDIM.*gd.Euler\(\)"):
        gd.invert(gd.DDIM(0.5), model, X, levels)
    with pytest.raises(ValueError, match=r"sampler: .* got AFS.*gd.invert\(afs.sampler"):
        gd.invert(gd.AFS(gd.Heun()), model, X, levels)
    for hidden in (gd.SwitchAt(gd.DDIM(1.0), gd.Heun(), 0.0), gd.SwitchAt(gd.Heun(), gd.AFS(gd.Heun()), 0.0)):
        with pytest.raises(ValueError, match="sampler: expected"):
            gd.invert(hidden, model, X, levels)
    with pytest.raises(ValueError, match=r"levels: expected strictly falling noise.*from noise to data"):
        gd.invert(gd.Heun(), model, X, levels[::-1])
    with pytest.raises(ValueError, match="x: expected finite"):
        gd.invert(gd.Heun(), model, jnp.nan * X, levels)
