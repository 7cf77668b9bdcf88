"""The tables of the zoo as users run them: in float32, x64 off, shapes unchecked. tests/test_float32.py runs this file.

Every answer stands beside a reference of higher precision: mpmath's for laws and schedules, NumPy's float64 for
samplers, and for grids those in float64 that the calling process wrote. A bound is a stated multiple of what float32
allows: of what one rounding of the numbers that come in does to the reference, and of one rounding of the answer.
"""

import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import test_samplers
import test_samplers_multistep
import test_samplers_stochastic
import test_schedules
import zoo

import gaussdiff as gd

EPS = float(np.finfo(np.float32).eps)
# in units of what one rounding does: an answer is a few dozen operations, a path a few hundred
MARGIN, ALONG_A_PATH = 50, 200
# also op by op: a law of each kind, and a one-step, a multistep and a stochastic sampler
EAGER = "gaussian_low_rank", "mixture_full", "empirical", "separable"
EAGER_SAMPLERS = "heun", "dpmpp_2m", "ancestral"


def test_this_is_float32_without_checks():
    assert jnp.ones(1).dtype == jnp.asarray(1.0).dtype == np.float32
    assert gd.Heun().init("of no shape", "no levels") is None  # the suite's hook refuses that


class Pair(NamedTuple):
    """A level in float64, which a gd.NoiseLevel cannot hold here."""

    alpha: float
    sigma: float


def rounded(rng: np.random.Generator, *values) -> list[np.ndarray]:
    """Every number moved by one rounding of float32, in float64."""
    arrays = [np.asarray(value, float) for value in values]
    return [array * (1 + EPS * rng.choice([-1, 1], array.shape)) for array in arrays]


def reference(law: zoo.Law, x: np.ndarray, alpha, sigma) -> dict[str, np.ndarray]:
    """Denoised value, sigma times score and log density of the dense law, in float64."""
    level = Pair(alpha, sigma)
    x0 = law.denoise(x, level)
    expected = {"denoise": x0}
    if sigma:
        expected["score"] = (alpha * x0 - x) / sigma
    if sigma or not law.singular():  # without either the density is on the support, by choice
        expected["log_prob"] = np.array([law.log_prob(x, level)])
    return expected


def questions(model: gd.Distribution, x, level: gd.NoiseLevel) -> dict:
    score = level.sigma * model.score(x, level)
    return {"denoise": model.denoise(x, level), "score": score, "log_prob": model.log_prob(x, level)}


compiled = jax.jit(jax.vmap(questions, (None, 0, 0)))


@zoo.over({name: name for name in zoo.DISTRIBUTIONS}, "name")
def test_laws_are_as_exact_as_float32_allows(name):
    case = zoo.DISTRIBUTIONS[name]
    x = jnp.stack([case.x(level, count=1)[0] for level in zoo.LEVELS.values()])
    by_program = compiled(case.model, x, zoo.stack(zoo.LEVELS))
    for i, (label, level) in enumerate(zoo.LEVELS.items()):
        answers = [{key: value[i] for key, value in by_program.items()}]
        if name in EAGER and label in ("variance_preserving", "tiny"):
            answers.append(questions(case.model, x[i], level))
        exact_inputs = np.asarray(x[i], float).ravel(), float(level.alpha), float(level.sigma)
        expected = reference(case.law, *exact_inputs)
        rng = np.random.default_rng(i)
        moved = [reference(zoo.Law(*rounded(rng, *case.law)), *rounded(rng, *exact_inputs)) for _ in range(2)]
        # sigma times the score is a difference in float64 of numbers as large as x / sigma
        of_reference = np.finfo(float).eps * np.linalg.norm(exact_inputs[0]) / (exact_inputs[2] or 1)
        for key, value in expected.items():
            sensitivity = max(np.linalg.norm(other[key] - value) for other in moved)
            allowed = MARGIN * (sensitivity + EPS * np.linalg.norm(value)) + of_reference
            for answer in answers:
                assert answer[key].dtype == np.float32
                error = np.linalg.norm(np.ravel(np.asarray(answer[key], float)) - value)
                assert error <= allowed, f"{key} at {label}: error {error:.2g}, allowed {allowed:.2g}"


def level_and_rates(name: str, t: float) -> tuple[list, list]:
    """alpha and sigma at t by the published definition, and their derivatives; of a table between its rows."""
    definition, t = test_schedules.DEFINITIONS[name], mpmath.mpf(t)
    h = mpmath.mpf(1) / 1000 if name == "discrete_betas" else mpmath.mpf(10) ** -12
    low, high = definition(t - h), definition(t + h)
    return list(definition(t)), [(b - a) / (2 * h) for a, b in zip(low, high, strict=True)]


level_at = jax.jit(lambda schedule, t: schedule(t))
time_at = jax.jit(lambda schedule, log_snr: schedule.time_at(log_snr))


@zoo.over({name: name for name in zoo.SCHEDULES}, "name")
def test_schedules_and_their_inverses_are_as_exact_as_float32_allows(name):
    """alpha and sigma at t, and t again from their log-SNR, against the published definitions in 40 digits."""
    schedule = zoo.SCHEDULES[name]
    for t in np.array([1e-3, 2e-3, 0.037, 0.5, 0.998], np.float32):
        with mpmath.workdps(40):
            values, slopes = level_and_rates(name, round(1000 * float(t)) / 1000 if "betas" in name else float(t))
            log_snr = float(2 * mpmath.log(values[0] / values[1]))
            of_log_snr = abs(float(2 * (slopes[0] / values[0] - slopes[1] / values[1])))
        for level in (schedule(jnp.asarray(t)), level_at(schedule, t)):
            for answer, value, slope in zip((level.alpha, level.sigma), values, slopes, strict=True):
                assert answer.dtype == np.float32
                allowed = MARGIN * EPS * (abs(float(slope)) * float(t) + float(value))
                assert abs(float(answer) - float(value)) <= allowed, f"level at t = {t}"
        # the log-SNR has its own rounding, and those of alpha and sigma
        allowed = MARGIN * EPS * ((abs(log_snr) + 2) / of_log_snr + float(t))
        for time in (schedule.time_at(jnp.float32(log_snr)), time_at(schedule, jnp.float32(log_snr))):
            assert abs(float(time) - float(t)) <= allowed, f"time of t = {t}"


def angles(alpha, sigma) -> np.ndarray:
    """arctan(sigma / alpha) in float64, which has digits at both ends."""
    return np.arctan2(np.asarray(sigma, float), np.asarray(alpha, float))


@zoo.over({name: name for name in zoo.GRIDS}, "name")
def test_grids_are_those_of_float64(name):
    """Their angles, within a few roundings and what a rounding of the position on the grid makes; strictly falling."""
    exact = {key: pair for key, pair in np.load(os.environ["GAUSSDIFF_GRIDS"]).items() if key.split()[0] == name}
    assert len(exact) > 1
    for key, pair in exact.items():
        n, expected = int(key.split()[1]), angles(*pair)
        levels = zoo.GRIDS[name](n)
        assert levels.alpha.dtype == levels.sigma.dtype == np.float32
        computed = angles(levels.alpha, levels.sigma)
        assert (np.diff(computed) < 0).all()
        steps = np.abs(np.diff(expected))
        widest = np.maximum(np.append(steps, 0), np.append(0, steps))  # of the two beside a level
        allowed = MARGIN * EPS * (expected + n * widest)
        assert (np.abs(computed - expected) <= allowed).all(), f"n = {n}"


MULTISTEP = test_samplers_multistep.REFERENCES.items()
PAIRS = {name: (own, test_samplers.without_noise(reference)) for name, (own, reference) in MULTISTEP}
PAIRS |= test_samplers.REFERENCES | test_samplers_stochastic.REFERENCES
ONE_OF_EACH = {type(own): name for name, (own, _) in PAIRS.items()}
FRAMES = {name: make for name, make in test_samplers.FRAMES.items() if name != "alpha_1_to_sigma_min"}


@zoo.over({name: name for name in ONE_OF_EACH.values()}, "name")
def test_samplers_are_as_exact_as_float32_allows(name):
    """Ends of paths of 1, 3 and 18 steps in four frames against the published algorithm in float64."""
    sampler, algorithm = PAIRS[name]
    lengths = (18,) if isinstance(sampler, gd.EDMStochastic) else (1, 3, 18)  # its churn is shared out over 18
    grids = [make(n) for make in FRAMES.values() for n in lengths]
    starts = [np.float32(levels.sigma[0]) * test_samplers.X.astype(np.float32) for levels in grids]
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(18, max(1, sampler.draws()), 4)).astype(np.float32)
    ends, denoised = zoo.along(sampler, test_samplers.DIAGONAL, np.stack(starts), grids, noise)
    assert ends.dtype == denoised.dtype == np.float32
    assert np.isfinite(denoised).all()
    for end, x, levels in zip(ends, starts, grids, strict=True):
        given = [np.asarray(value, float) for value in (x, levels.alpha, levels.sigma, noise)]
        with np.errstate(divide="ignore", invalid="ignore"):
            expected = algorithm(*given)
            moved = [algorithm(*rounded(rng, *given)) for _ in range(3)]
        sensitivity = max(np.linalg.norm(other - expected) for other in moved)
        # x' = x + a move is rounded as x is, which before the last step is about as large as its sigma
        size = np.linalg.norm(expected) + given[2][-2] * np.linalg.norm(test_samplers.X)
        allowed = ALONG_A_PATH * (sensitivity + EPS * size)
        error = np.linalg.norm(np.asarray(end, float) - expected)
        assert error <= allowed, f"n = {len(levels) - 1}: error {error:.2g}, allowed {allowed:.2g}"


@pytest.mark.parametrize("name", EAGER_SAMPLERS)
def test_a_path_op_by_op_is_that_of_its_program(name):
    levels, x = gd.grids.karras(5), jnp.array([50.0, -80.0, 10.0])
    path = gd.sample(zoo.SAMPLERS[name], zoo.MIXTURE.model, x, levels, jax.random.key(0))
    with jax.disable_jit():
        again = gd.sample(zoo.SAMPLERS[name], zoo.MIXTURE.model, x, levels, jax.random.key(0))
    scale = np.asarray(levels.sigma)[:, None] + 1
    np.testing.assert_allclose(path.x / scale, again.x / scale, rtol=0, atol=ALONG_A_PATH * EPS * 10)
