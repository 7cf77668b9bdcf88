# ruff: noqa: E501  one kind to a line
"""Arguments of a wrong kind: every public function names the argument, what was expected, what came, and a cure.

`calls.py` has the functions and the kind of each argument, the table below what people pass by mistake: a class where
an object is wanted, a seed for a key, sigmas for levels, two arguments in each other's place, numbers that are none.
"""

import inspect
import re

import calls
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd
from gaussdiff import conversions, denoisers, design, exact, fitting, grids, integrate, losses, metrics, samplers

NAN = float("nan")


def no_network(x, condition):
    return x


class Wrong:
    """Values that no argument of a kind takes, by the words that describe them; made when they are first used."""

    def __init__(self):
        law = gd.Gaussian.isotropic(np.zeros(3), 1.0)
        points, grid = gd.Empirical(np.arange(6.0).reshape(2, 3)), gd.grids.karras(4)
        one, time, key, x = gd.NoiseLevel(0.8, 0.6), gd.VarianceExploding(), jax.random.key(0), jnp.arange(3.0)
        objects, words = np.array([1, None, 2], object), np.array(["a", "b", "c"])
        no_arrays = [
            ("'abc'", "abc"),
            ("None", None),
            ("array of object", objects),
            ("array of <U1", words),
            ("complex", x + 1j),
            ("key<fry>", key),
            ("Gaussian", law),
            ("NoiseLevel", one),
            ("a list of 2", [[1, 2], [3]]),
            ("a dict of 1", {"x": x}),
            ("the function no_network", no_network),
            ("the class Gaussian", gd.Gaussian),
        ]
        others = [(r"\(8, 3\)", jnp.ones((8, 3))), (r"\(0,\)", jnp.zeros(0)), (r"\(\)|\(1,\)", 1.0)]
        few = [(r"\(\)", 1.0), (r"\(0, 3\)", np.zeros((0, 3))), (r"NaN|\(10, 3\)", np.full((10, 3), NAN))]
        several = ("(3,)|shape", [1.0, 2.0, 3.0])
        complexes = ("complex", 1 + 1j)
        no_numbers = [several, ("nan|NaN", NAN), complexes]
        no_numbers += [("'0.5'", "0.5"), ("None", None), ("NoiseLevel", one), ("Gaussian", law), ("key<fry>", key)]
        negative = [("-1", -1.0), *no_numbers]
        infinite = ("inf", np.inf)
        no_count = [("2.5", 2.5), ("2.0", 2.0), ("'5'", "5"), ("None", None), ("-1", -1), ("True", True)]
        no_count += [("[3]", [3]), ("NoiseLevel", grid), ("nan", NAN), ("the class int", int)]
        no_module = [
            ("None", None),
            ("'heun'", "heun"),
            ("array of float64", x),
            ("the function no_network", no_network),
        ]
        no_module += [
            ("NoiseLevel", grid),
            ("VarianceExploding", time),
            ("key<fry>", key),
            ("the class", gd.NoiseLevel),
        ]
        no_level = [("0.5", 0.5), ("None", None), ("VarianceExploding", time), ("array of float64", x)]
        no_level += [(r"\(1.0, 0.5\)", (1.0, 0.5)), ("Gaussian", law), ("the class", gd.NoiseLevel)]
        self.values = {
            "array": no_arrays,
            "sample": [*no_arrays, *others],
            "start": [*no_arrays, *others, ("NaN", x * NAN)],
            "samples": [*no_arrays, *few],
            "rows": [("None", None), ("1.0", 1.0), ("a list of 1", [x]), ("array of float64", jnp.ones((4, 3))), *few[1:]],
            "variances": [*no_arrays, ("-1", -jnp.ones(3)), ("nan|NaN", x * NAN), ("inf", x + np.inf)],
            "number": no_numbers,
            "above 0": [*negative, infinite, ("0", 0.0)],
            "above 0, or inf": [*negative, ("0", 0.0)],
            "at least 0": [*negative, infinite],
            "natural": no_count,
            "count": [*no_count, ("0", 0)],
            "model": [*no_module, ("Heun", gd.Heun()), ("the class Gaussian", gd.Gaussian)],
            "gaussian": [*no_module, ("Empirical", points), ("Heun", gd.Heun()), ("the class Gaussian", gd.Gaussian)],
            "mixture": [*no_module, ("Gaussian", law), ("the class", gd.GaussianMixture)],
            "sampler": [*no_module, ("Gaussian", law), ("the class DDIM", gd.DDIM)],
            "schedule": [("NoiseLevel", one), ("the class Cosine", gd.Cosine), ("'cosine'", "cosine"), ("20", 20),
                ("None", None), ("Gaussian", law), ("the function no_network", no_network), ("Heun", gd.Heun())],
            "grid": no_level,
            "level": [*no_level, (r"\(5,\)", grid)],
            "levels": [*no_level, ("10", 10), (r"\[3.0, 1.0, 0.0\]", [3.0, 1.0, 0.0]), (r"\(\)", one),
                ("Heun", gd.Heun()), ("key<fry>", key), ("the function karras", gd.grids.karras)],
            "key": [("0", 0), ("3", np.int64(3)), ("array of float64", x), ("Generator", np.random.default_rng(0)),
                ("'0'", "0"), (r"\(4,\)", jax.random.split(key, 4)), (r"\(4, 2\)", jnp.zeros((4, 2), jnp.uint32)),
                (r"\(3,\)", jnp.zeros(3, jnp.uint32)), ("Gaussian", law), ("NoiseLevel", grid)],
            "shape": [("'ab'", "ab"), ("None", None), (r"\(2.5,\)", (2.5,)), (r"\(-3,\)", (-3,)), ("3", 3),
                ("array of float64", np.ones((2, 3))), ("NoiseLevel", one)],
            "function": [("None", None), ("3.0", 3.0), ("array of float64", x), ("'net'", "net"), ("Gaussian", law)],
            "solver": [("3.0", 3.0), ("'tsit5'", "tsit5"), ("Heun", gd.Heun()), ("the class Heun", gd.Heun)],
            "labels": [("'abc'", "abc"), ("None", None), (r"\(3,\)", np.zeros(3, int)), (r"\(10, 2\)", np.zeros((10, 2), int)),
                ("NaN|float64", np.full(10, NAN)), ("Gaussian|object", law)],
            "list": [("None", None), ("3|float", 3.0), ("Gaussian|eigvals", law), ("'abc'|'a'", "abc")],
            "table": [("Heun", gd.Heun()), ("the class Heun", gd.Heun), ("'heun'", "heun"), ("a list of 1", [gd.Heun()]),
                ("the function karras", gd.grids.karras)],
            "path": [("None", None), ("3.5", 3.5), ("Gaussian", law), ("array of float64", x)],
        }  # fmt: skip

    def of(self, kind: str) -> list:
        return [
            (words, value) for words, value in self.values[kind.rstrip("?")] if value is not None or kind[-1] != "?"
        ]


@pytest.fixture(scope="module")
def wrong() -> Wrong:
    return Wrong()


# from the text, so that nothing compiles while tests are collected
NAMES = re.findall(r'^        "([\w. ]+)": Call', inspect.getsource(calls), re.MULTILINE)
LAWS = ("Gaussian", "Diagonal", "GaussianMixture", "Empirical", "Separable")
NAMES += [f"{law}.{name}" for law in LAWS for name in ("denoise", "log_prob", "score", "sample")]


@pytest.mark.parametrize("name", NAMES)
def test_an_argument_of_a_wrong_kind_is_named_with_its_cure(name, wrong, unchecked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # for functions that write
    function, arguments = calls.calls()[name]
    good = calls.calls()[name].good()
    for argument, (kind, _) in arguments.items():
        for words, value in wrong.of(kind):
            with pytest.raises((TypeError, ValueError)) as caught:
                function(**(good | {argument: value}))
            message, case = str(caught.value), f"{name}({argument}={words})"
            assert re.match(rf"(?s)[^:]*\b{argument}\b[^:]*: .*expected.*got.*({words}).*\. .*\.$", message), (
                case,
                message,
            )


def public(space) -> list[str]:
    """Names of functions and classes that a package or module has for its users."""
    own = [name for name, thing in vars(space).items() if getattr(thing, "__module__", "") == space.__name__]
    return [name for name in getattr(space, "__all__", own) if name[0] != "_"]


def test_every_public_function_is_in_the_table():
    """A new function needs a line; records that functions make and what takes no argument need none."""
    assert set(calls.calls()) == set(NAMES)
    spaces = gd, *SPACES
    names = {name for space in spaces for name in public(space) if callable(getattr(space, name))}
    listed = {part for name in calls.calls() for part in name.split(" ")[0].split(".")}
    assert names - RECORDS - listed == set()
    assert names >= RECORDS


SPACES = conversions, denoisers, design, exact, fitting, grids, integrate, losses, metrics, samplers
# made by a function, without arguments, or to be subclassed
RECORDS = {
    *("Denoiser", "Distribution", "Sampler", "Schedule", "Learning", "Step", "Trajectory", "Posterior", "Observed"),
    *("PosteriorCovariance", "EvidenceBound", "LogLikelihood", "SolverError", "SolverTable"),
    *("Plane", "Rotation", "SpectralMap", "Recipe", "Estimate", "PrecisionRecall", "ProgressBar"),
    *("Euler", "Heun", "DPMSolver3", "DPMSolverPP2M", "DPMSolverPP3M", "RectifiedFlow"),
    *("standard_samplers", "standard_grids"),
    *("load", "load_recipe"),  # whose errors tests/test_files.py holds
}


@pytest.mark.parametrize("n", [np.int64(4), np.int32(4), np.array(4), jnp.asarray(4)], ids=lambda n: type(n).__name__)
def test_a_count_may_be_any_integer(n, unchecked):
    assert len(gd.grids.karras(n)) == 5
    assert gd.UniPC(n - 1).order == 3
    assert gd.Empirical(np.ones((6, 2)), chunk=n).chunk == 4


@pytest.mark.parametrize("key", [jax.random.PRNGKey(0), jax.random.key(0), jax.random.key(0, impl="rbg")], ids=str)
def test_keys_of_both_styles_are_keys(key, unchecked):
    assert gd.sample_prior(key, (3,), gd.NoiseLevel(0.0, 1.0)).shape == (3,)


def test_integers_and_lists_are_numbers(unchecked):
    """Data of integers, lists and NumPy scalars go where floats go, with the same answer."""
    law = gd.Gaussian.isotropic([0, 0], np.int64(1))
    level = gd.NoiseLevel(1, np.float64(2))
    asked = law.denoise([2, 1], level)
    assert jnp.issubdtype(asked.dtype, jnp.floating)
    np.testing.assert_array_equal(asked, law.denoise(jnp.array([2.0, 1.0]), gd.NoiseLevel(1.0, 2.0)))


# a function of one number, one in its range, and one out of it
TRACED = {
    "variance": (lambda v: gd.exact.marginal_std(v, gd.NoiseLevel(1.0, 0.5)), 1.0, -1.0),
    "variance of a commitment": (lambda v: gd.commitment(v, gd.NoiseLevel(1.0, 0.5)), 1.0, -1.0),
    "variance of a Gaussian": (lambda v: gd.Gaussian.isotropic(jnp.zeros(2), v).log_prob(jnp.ones(2)), 1.0, -0.5),
    "fraction": (lambda f: gd.emergence(1.0, f), 0.5, 1.5),
    "eta": (lambda eta: ended(gd.DDIM(eta)), 1.0, 1.5),
    "eta of the reverse SDE": (lambda eta: ended(gd.ExponentialSDE(eta)), 1.0, -1.0),
    "v": (lambda v: ended(gd.Ancestral(v)), 0.5, -0.5),
    "r": (lambda r: ended(gd.DPMSolver2(r)), 0.5, 1.5),
    "s_noise": (lambda s: ended(gd.EDMStochastic(s_noise=s)), 1.0, -1.0),
    "s_min": (lambda s: ended(gd.EDMStochastic(s_min=s, s_max=2.0)), 0.0, 3.0),
    "step_size": (lambda size: ended(gd.AnnealedLangevin(1, size)), 0.2, 4.0),
    "snr": (lambda snr: ended(gd.PredictorCorrector(gd.Euler(), snr)), 0.1, -0.1),
    "weight": (lambda w: gd.Guided(LAW, LAW, w).denoise(jnp.ones(2), gd.NoiseLevel(1.0, 1.0)), 2.0, np.inf),
    "bandwidth": (lambda b: gd.Empirical(jnp.ones((2, 2)), b).log_prob(jnp.ones(2)), 1.0, -1.0),
    "quantile": (lambda q: gd.Thresholded(LAW, q).denoise(jnp.ones(2), gd.NoiseLevel(1.0, 1.0)), 0.9, 1.1),
    "low": (lambda low: gd.Clipped(LAW, low, 1.0).denoise(jnp.ones(2), gd.NoiseLevel(1.0, 1.0)), -1.0, 2.0),
    "rho": (lambda rho: gd.grids.karras(3, rho=rho).sigma[1:-1], 7.0, -7.0),
    "sigma_min": (lambda low: gd.grids.uniform_log_snr(3, low, 80.0).sigma[1:-1], 0.1, 90.0),
    "beta_min": (lambda beta: gd.VariancePreserving(beta, 20.0)(0.5).sigma, 0.1, 30.0),
    "offset": (lambda offset: gd.Cosine(offset)(0.5).sigma, 0.008, -0.1),
    "sigma_data": (lambda s: gd.losses.edm_weight(gd.NoiseLevel(1.0, 1.0), s), 0.5, -0.5),
    "count": (lambda n: gd.FiniteDataDenoiser(LAW, n).denoise(jnp.ones(2), gd.NoiseLevel(1.0, 1.0)), 9.0, -9.0),
    "time": (lambda t: gd.Cosine()(t).sigma, 0.5, -0.5),
    "time of a table": (lambda t: gd.DiscreteBetas([0.1, 0.2])(t).sigma, 0.5, -0.5),
    "sigma as a time": (lambda t: gd.VarianceExploding()(t).sigma, 2.0, -2.0),
    "end": (lambda end: gd.grids.uniform_time(gd.RectifiedFlow(), 3, 0.5, end).sigma, 0.1, 0.7),
    "time of training": (lambda t: LAYER.weight(jnp.ones(2), gd.NoiseLevel(1.0, 1.0), t), 2.0, -2.0),
    "steps of training": (lambda n: LAYER.weight_after(jnp.ones(2), gd.NoiseLevel(1.0, 1.0), n), 2, -2),
    "shrinkage": (lambda s: gd.fitting.shrink(LAW, s).eigvals, 0.5, 1.5),
}
LAW = gd.Gaussian(np.zeros(2), np.array([2.0, 1.0]), np.eye(2))
LAYER = gd.exact.OneLayer(1.0)  # so fast that a step's factor is negative


def ended(sampler: gd.Sampler):
    """Where a sampler's first step ends, with noise, from a level above the data's scale."""
    x, noise, levels = jnp.ones(2), jnp.ones((sampler.draws(), 2)), gd.grids.karras(3, 0.1, 1.5)
    return sampler.step(LAW, x, sampler.init(x, levels), levels[0], levels[1], noise).x


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACED)
def test_inside_jit_a_number_out_of_range_gives_no_number(name, unchecked):
    """What cannot be looked at is not refused, but nor is it a wrong answer."""
    function, good, bad = TRACED[name]
    traced = jax.jit(function)
    np.testing.assert_allclose(traced(good), function(good), rtol=1e-10)
    assert np.isnan(traced(bad)).any()
    with pytest.raises(ValueError, match="expected"):
        function(bad)


def test_integers_of_python_are_as_large_and_as_weak_as_its_floats():
    assert float(gd.NoiseLevel(1, 2**40).sigma) == 2.0**40
    assert gd.NoiseLevel(1, np.float32(0.5)).alpha.dtype == np.float32
    with pytest.raises(TypeError, match="sigma: expected real numbers"):
        gd.NoiseLevel(1, 10**400)


class Foreign:
    """An array of another library, whose dtypes NumPy does not know."""

    dtype = "foreign.float32"

    def __init__(self, x):
        self.x, self.shape = x, x.shape

    def __array__(self, dtype=None, copy=None):
        return self.x


def test_samples_may_be_arrays_of_other_libraries():
    x = np.array([[1.0, 2.0], [3.0, 5.0], [0.0, 1.0]])
    np.testing.assert_array_equal(gd.Gaussian.from_samples(Foreign(x)).mean, x.mean(0))


def test_points_for_several_devices_are_named():
    with pytest.raises(ValueError, match="points: expected at least 1 sample"):
        gd.Empirical(3.0, devices=jax.devices())
