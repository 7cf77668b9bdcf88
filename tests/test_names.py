"""The names of the engine: what stands at gd., where the others are, and what one is told who asks for them at gd."""

import copy
import pickle

import pytest

import gaussdiff as gd

# Functions that stood at gd. in the first drafts, by the package that they are in now.
MOVED = {
    "exact": (
        "best_plane",
        "block_average",
        "chord_deviation",
        "collinear_flow",
        "commitment_speed",
        "components_for_share",
        "convolution",
        "flow_from_prior",
        "flow_log_det",
        "flow_log_likelihood",
        "gaussian_frechet",
        "gaussian_kl",
        "gaussian_marginal",
        "gaussian_path",
        "gaussian_perturbation",
        "gaussian_rotation",
        "gaussian_w2",
        "generated_variance",
        "gram_matrix",
        "information",
        "log_cdf",
        "marginal_std",
        "masking",
        "multiply",
        "observe",
        "participation_ratio",
        "path_distance",
        "path_spectrum",
        "rotation_residual",
        "separable_flow",
    ),
    "denoisers": (
        "effective_noise",
        "expected_gain",
    ),
    "fitting": (
        "choose_bandwidth",
        "expectation_maximization",
        "ledoit_wolf",
        "shrink",
    ),
    "design": (
        "generated",
        "injected_variance",
        "relative_error",
        "standard_grids",
        "standard_samplers",
    ),
    "integrate": (
        "discretized_log_prob",
        "elbo",
    ),
}
PAIRS = [(package, name) for package, names in MOVED.items() for name in names]


@pytest.mark.parametrize(("package", "name"), PAIRS, ids=[name for _, name in PAIRS])
def test_a_name_that_moved_says_where_it_is(package, name):
    assert callable(getattr(getattr(gd, package), name))
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'\. Use gd\.{package}\.{name}\."):
        getattr(gd, name)


def test_a_name_that_is_nowhere_is_an_attribute_error_without_advice():
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing_of_the_kind'\.$"):
        _ = gd.nothing_of_the_kind
    assert not hasattr(gd, "gram_matrix")
    assert not hasattr(gd, "__wrapped__")


def test_what_stands_at_gd_is_listed_once_and_every_package_lists_what_it_has():
    assert len(gd.__all__) == len(set(gd.__all__))
    assert set(gd.__all__) <= set(dir(gd))
    for package in MOVED:
        module = getattr(gd, package)
        assert all(hasattr(module, name) for name in module.__all__)


def test_laws_and_levels_are_copied_and_pickled_by_their_class():
    law, level = gd.Gaussian.isotropic([1.0, 2.0], 3.0), gd.NoiseLevel(0.6, 0.8)
    for make in (copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))):
        assert make(law).log_prob(law.mean, level) == law.log_prob(law.mean, level)
