"""Bad input: every message names the argument, what was expected, what came, and the cure."""

# ruff: noqa: E501  one row of the table to a line

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import zoo

import gaussdiff as gd
from gaussdiff import conversions, grids, losses, metrics

NAN = float("nan")
GAUSSIAN, MIXTURE = zoo.GAUSSIAN.model, zoo.MIXTURE.model
X, LEVEL, KEY = jnp.ones(3), gd.NoiseLevel(0.8, 0.6), jax.random.key(0)
GRID = grids.karras(4)
CLEAN, PURE = gd.NoiseLevel(1.0, 0.0), gd.NoiseLevel(0.0, 1.0)
VE = gd.VarianceExploding()
SAMPLES = np.random.default_rng(0).normal(size=(10, 3))
LINE, FULL = (gd.GaussianMixture.from_samples(x, 2, key=KEY) for x in (SAMPLES[:, :1], SAMPLES))
COVARIANCE = np.array([[1.0, 0.5], [0.0, 1.0]])
NOISE_NETWORK = gd.FromNoisePrediction(lambda x, level: x)
WITHOUT_SIGNAL = gd.grids.trailing(gd.DiscreteBetas([0.1, 0.5, 1.0]), 3)


class Wrong(gd.Denoiser):
    """Gives back another shape than it got."""

    def denoise(self, x, level):
        return x[:-1]


# name -> (call, exception, argument, expected, got, cure): the last four stand in the message, in this order
TABLE = {
    # levels and schedules
    "negative_sigma": (lambda: gd.NoiseLevel(1.0, -0.5), ValueError, "sigma", "finite and >= 0", "-0.5", "alpha x0"),
    "nan_alpha": (lambda: gd.NoiseLevel(NAN, 0.5), ValueError, "alpha", "finite and >= 0", "nan", "alpha x0"),
    "nothing_at_all": (lambda: gd.NoiseLevel(0.0, 0.0), ValueError, "alpha, sigma", "above 0", "both 0", "nothing"),
    "infinite_sigma": (lambda: gd.NoiseLevel(1.0, np.inf), ValueError, "sigma", "finite", "inf", "alpha x0"),
    "float_for_a_level": (lambda: GAUSSIAN.denoise(X, 0.5), TypeError, "level", "NoiseLevel", "got (0.5|80.0)", "gd.NoiseLevel"),
    "grid_for_a_level": (lambda: GAUSSIAN.denoise(X, GRID), ValueError, "level", "single", r"\(5,\)", "jax.vmap"),
    "float_in_score": (lambda: gd.score(MIXTURE, X, 0.5), TypeError, "level", "NoiseLevel", "got (0.5|80.0)", "gd.NoiseLevel"),
    "float_in_log_prob": (lambda: MIXTURE.log_prob(X, 0.5), TypeError, "level", "NoiseLevel", "got (0.5|80.0)", "gd.NoiseLevel"),
    "float_in_prior": (lambda: gd.sample_prior(KEY, (3,), 80.0), TypeError, "level", "NoiseLevel", "got (0.5|80.0)", "gd.Noise"),
    "float_in_add_noise": (lambda: gd.add_noise(KEY, X, 0.5), TypeError, "level", "NoiseLevel", "got (0.5|80.0)", "gd.Noise"),
    "float_in_commitment": (lambda: gd.commitment(X, 0.5), TypeError, "level", "NoiseLevel", "got (0.5|80.0)", "gd.NoiseLevel"),
    "time_above_1": (lambda: gd.Cosine()(1.5), ValueError, "t", r"\[0, 1\]", "1.5", "Rescale"),
    "negative_time": (lambda: VE(-1.0), ValueError, "t", r"\[0, inf\)", "-1", "Rescale"),
    "nan_time": (lambda: gd.RectifiedFlow()(NAN), ValueError, "t", r"\[0, 1\]", "nan", "Rescale"),
    "betas_crossed": (lambda: gd.VariancePreserving(20.0, 0.1), ValueError, "beta_min", "beta_min <=", "20", "0.1 and 20"),
    "beta_zero": (lambda: gd.SubVariancePreserving(0.0), ValueError, "beta_min", "0 <", "0 and 20", "usual pair"),
    "cosine_offset": (lambda: gd.Cosine(-0.1), ValueError, "offset", ">= 0", "-0.1", "0.008"),
    "ve_sigma_max": (lambda: gd.VarianceExploding(0.0), ValueError, "sigma_max", "> 0", "got 0", "80"),
    "table_with_1": (lambda: gd.DiscreteBetas([1.0, 0.1]), ValueError, "betas", r"the last at most 1", "0.1 to 1", "1 - alpha"),
    "table_beyond_1": (lambda: gd.DiscreteBetas([0.1, 1.5]), ValueError, "betas", r"the last at most 1", "0.1 to 1.5", "1 - alpha"),
    "empty_table": (lambda: gd.DiscreteBetas([]), ValueError, "betas", r"\(N,\)", r"\(0,\)", "1 - alpha"),
    "nan_table": (lambda: gd.DiscreteBetas([0.1, NAN]), ValueError, "betas", "finite", "1 NaN", "Remove"),
    # samples of the wrong shape
    "batch_to_denoise": (lambda: GAUSSIAN.denoise(jnp.ones((8, 3)), LEVEL), ValueError, "x", r"\(3,\)", r"\(8, 3\)", "vmap"),
    "batch_to_mixture": (lambda: MIXTURE.denoise(jnp.ones((8, 3)), LEVEL), ValueError, "x", r"\(3,\)", r"\(8, 3\)", "vmap"),
    "wrong_event": (lambda: GAUSSIAN.log_prob(jnp.ones(4)), ValueError, "x", r"\(3,\)", r"\(4,\)", "Reshape"),
    "batch_to_data_set": (lambda: gd.Empirical(SAMPLES).denoise(jnp.ones((8, 3)), LEVEL), ValueError, "x", r"\(3,\)", r"\(8, 3\)", "vmap"),
    "batch_to_flow": (lambda: gd.gaussian_flow(GAUSSIAN, jnp.ones((8, 3)), LEVEL, CLEAN), ValueError, "x", r"\(3,\)", r"\(8, 3\)", "vmap"),
    "batch_to_sample": (lambda: gd.sample(gd.Heun(), GAUSSIAN, jnp.ones((8, 3)), GRID), ValueError, "x", r"\(3,\)", r"\(8, 3\)", "vmap"),
    # not a model, not a sampler
    "function_for_a_model": (lambda: gd.score(lambda x, t: x, X, LEVEL), TypeError, "model", "gd.Denoiser", "function", "gd.Preconditioned"),
    "class_for_a_model": (lambda: gd.sample(gd.Heun(), gd.Gaussian, X, GRID), TypeError, "model", "gd.Denoiser", "the class Gaussian", "Call the class"),
    "velocity_of_a_function": (lambda: gd.velocity(lambda x, t: x, VE, X, 1.0), TypeError, "model", "gd.Denoiser", "function", "Wrap"),
    "loss_of_a_function": (lambda: losses.denoising_loss(lambda x, t: x, X, LEVEL, KEY), TypeError, "model", "gd.Denoiser", "function", "Wrap"),
    "network_not_callable": (lambda: gd.Preconditioned(3.0), TypeError, "network", "callable", "3.0", "flax"),
    "noise_network_not_callable": (lambda: gd.FromNoisePrediction(X), TypeError, "network", "callable", "got", "flax"),
    "sigma_data": (lambda: gd.Preconditioned(lambda x, c: x, 0.0), ValueError, "sigma_data", "> 0", "got 0", "standard deviation"),
    "network_of_another_shape": (lambda: gd.Preconditioned(lambda x, c: x[:2]).denoise(X, LEVEL), ValueError, "network", r"\(3,\)", r"\(2,\)", "last layer"),
    "model_of_another_shape": (lambda: gd.sample(gd.Euler(), Wrong(), X, GRID), ValueError, "model", r"\(3,\)", r"\(2,\)", "one sample"),
    "sampler_class": (lambda: gd.sample(gd.Heun, GAUSSIAN, X, GRID), TypeError, "sampler", "gd.Sampler", "Heun", "Call the class"),
    "sampler_name": (lambda: gd.sample("heun", GAUSSIAN, X, GRID), TypeError, "sampler", "gd.Sampler", "heun", r"gd.Heun\(\)"),
    "switch_of_a_class": (lambda: gd.SwitchAt(gd.Euler, gd.Heun(), 0.0), TypeError, "first", "gd.Sampler", "Euler", "Call the class"),
    "switch_to_a_name": (lambda: gd.SwitchAt(gd.Euler(), "heun", 0.0), TypeError, "second", "gd.Sampler", "heun", "Make one"),
    # laws
    "cov_not_symmetric": (lambda: gd.Gaussian.from_moments(np.zeros(2), [[1.0, 2.0], [0.0, 1.0]]), ValueError, "cov", "symmetric", "differ by 2", r"cov \+ cov.T"),
    "cov_negative": (lambda: gd.Gaussian.from_moments(np.zeros(2), np.diag([1.0, -0.5])), ValueError, "cov", "no negative", "-0.5", "Check"),
    "cov_shape": (lambda: gd.Gaussian.from_moments(np.zeros((2, 2)), np.eye(2)), ValueError, "cov", r"\(4, 4\)", r"\(2, 2\)", "Flatten"),
    "cov_nan": (lambda: gd.Gaussian.from_moments(np.zeros(1), [[NAN]]), ValueError, "cov", "finite", "1 NaN", "Remove"),
    "mean_nan": (lambda: gd.Gaussian.from_moments([NAN], [[1.0]]), ValueError, "mean", "finite", "1 NaN", "Remove"),
    "rank_too_large": (lambda: gd.Gaussian.from_samples(SAMPLES, rank=4), ValueError, "rank", "1 to D = 3", "got 4", "Leave it out"),
    "rank_zero": (lambda: gd.Gaussian.from_moments(np.zeros(2), np.eye(2), rank=0), ValueError, "rank", "1 to D = 2", "got 0", "Leave it out"),
    "samples_nan": (lambda: gd.Gaussian.from_samples(SAMPLES * NAN), ValueError, "x", "finite", "30 NaN", "Remove"),
    "one_sample": (lambda: gd.Gaussian.from_samples(SAMPLES[:1]), ValueError, "x", "at least 2", r"\(1, 3\)", "Stack"),
    "equal_samples": (lambda: gd.Gaussian.from_samples(np.ones((5, 2))), ValueError, "x", "differ", "equal", "isotropic"),
    "negative_variance": (lambda: gd.Gaussian(np.zeros(2), [1.0, -1.0], np.eye(2)), ValueError, "eigvals", ">= 0", "-1", "Square roots"),
    "negative_residual": (lambda: gd.Gaussian(np.zeros(2), [1.0], np.eye(2)[:, :1], -1.0), ValueError, "residual", ">= 0", "-1", "Square roots"),
    "negative_isotropic_variance": (lambda: gd.Gaussian.isotropic(np.zeros(2), -1.0), ValueError, "variance", ">= 0", "-1", "square"),
    "variances_beyond_float32": (lambda: gd.Gaussian.from_samples((SAMPLES * 1e25).astype(np.float32)), ValueError, "x", "float32 holds", r"e\+5", "Divide"),
    "eigvecs_shape": (lambda: gd.Gaussian(np.zeros(2), [1.0], np.eye(2)), ValueError, "eigvecs", r"\(2, r\)", r"\(2, 2\)", "from_moments"),
    "eigvecs_not_orthonormal": (lambda: gd.Gaussian(np.zeros(2), [1.0, 1.0], np.ones((2, 2))), ValueError, "eigvecs", "orthonormal", "Gram", "from_moments"),
    "weights_shape": (lambda: gd.GaussianMixture([0.0], [GAUSSIAN, GAUSSIAN]), ValueError, "log_weights", r"\(2,\)", r"\(1,\)", "one logarithm for each"),
    "weights_nan": (lambda: gd.GaussianMixture([0.0, NAN], [GAUSSIAN, GAUSSIAN]), ValueError, "log_weights", "logarithms", "nan", "jnp.log"),
    "weights_all_zero": (lambda: gd.GaussianMixture([-np.inf], [GAUSSIAN]), ValueError, "log_weights", "above -inf", "inf", "jnp.log"),
    "components_unlike": (lambda: gd.GaussianMixture([0.0, 0.0], [GAUSSIAN, zoo.DISTRIBUTIONS["gaussian_isotropic"].model]), ValueError, "components", "one shape and rank", "got", "same rank"),
    "components_none": (lambda: gd.GaussianMixture([], []), ValueError, "components", "at least one", r"got .*\[\]", "gd.Gaussian"),
    "component_alone": (lambda: gd.GaussianMixture([0.0, 0.0, 0.0], GAUSSIAN), ValueError, "components", "leading axis", "got", "list"),
    "too_many_components": (lambda: gd.GaussianMixture.from_samples(SAMPLES, 6, key=KEY), ValueError, "components", "1 to N/2 = 5", "got 6", "fewer"),
    "no_components": (lambda: gd.GaussianMixture.from_samples(SAMPLES, 0, key=KEY), ValueError, "components", "1 to N/2", "got 0", "fewer"),
    "no_points": (lambda: gd.Empirical(np.zeros((0, 3))), ValueError, "points", "N >= 1", r"\(0, 3\)", "Stack"),
    "points_nan": (lambda: gd.Empirical(SAMPLES * NAN), ValueError, "points", "finite", "30 NaN", "Remove"),
    "chunk_zero": (lambda: gd.Empirical(SAMPLES, chunk=0), ValueError, "chunk", ">= 1", "got 0", "memory"),
    "negative_bandwidth": (lambda: gd.Empirical(SAMPLES, -0.1), ValueError, "bandwidth", ">= 0", "-0.1", "bare data set"),
    "data_weights_shape": (lambda: gd.Empirical(SAMPLES, log_weights=np.zeros(3)), ValueError, "log_weights", r"\(10,\)", r"\(3,\)", "one logarithm for each"),
    # conversions
    "score_of_a_clean_level": (lambda: gd.score(GAUSSIAN, X, CLEAN), ValueError, "level", "sigma > 0", "sigma = 0", "model.score"),
    "velocity_at_0": (lambda: gd.velocity(GAUSSIAN, VE, X, 0.0), ValueError, "level", "sigma > 0", "sigma = 0", "small t"),
    "x0_from_noise_alone": (lambda: conversions.x0_from_noise(X, X, PURE), ValueError, "level", "alpha > 0", "alpha = 0", "v or x0"),
    "x0_from_score_alone": (lambda: conversions.x0_from_score(X, X, PURE), ValueError, "level", "alpha > 0", "alpha = 0", "v or x0"),
    "emergence_fraction": (lambda: gd.emergence(X, 1.5), ValueError, "fraction", r"\(0, 1\]", "1.5", "half"),
    # grids
    "no_steps": (lambda: grids.karras(0), ValueError, "n", ">= 1", "0", "shape of the grid"),
    "half_a_step": (lambda: grids.uniform_log_snr(2.5), ValueError, "n", "integer", "2.5", "shape of the grid"),
    "rho_zero": (lambda: grids.karras(5, rho=0.0), ValueError, "rho", "> 0", "got 0", "uniform_log_snr"),
    "sigma_min_zero": (lambda: grids.karras(5, 0.0), ValueError, "sigma_min", "0 < sigma_min", "0 and 80", "final_zero"),
    "sigmas_crossed": (lambda: grids.uniform_log_snr(5, 3.0, 1.0), ValueError, "sigma_min", "sigma_min < sigma_max", "3 and 1", "final_zero"),
    "times_crossed": (lambda: grids.uniform_time(gd.Cosine(), 5, 0.2, 0.8), ValueError, "start", "start > end", "0.2 and 0.8", "Noise comes first"),
    "variance_zero": (lambda: grids.uniform_angles(5, 0.0), ValueError, "variance", "> 0", "got 0", "per dimension"),
    "quadratic_crossed": (lambda: grids.quadratic_time(gd.Cosine(), 5, 0.2, 0.8), ValueError, "start", "start > end", "0.2 and 0.8", "Noise comes first"),
    "rows_of_no_table": (lambda: grids.trailing(gd.Cosine(), 5), TypeError, "schedule", "gd.DiscreteBetas", "Cosine", "uniform_time"),
    "more_rows_than_there_are": (lambda: grids.leading(gd.DiscreteBetas([0.1, 0.2]), 3), ValueError, "n", "at most the 2 rows", "got 3", "fewer"),
    # samplers
    "eta_above_1": (lambda: gd.DDIM(1.5), ValueError, "eta", r"\[0, 1\]", "1.5", "DDPM"),
    "eta_negative": (lambda: gd.DDIM(-0.5), ValueError, "eta", r"\[0, 1\]", "-0.5", "deterministic"),
    "order_0": (lambda: gd.AdamsBashforth(0), ValueError, "order", "from 1 to 4", "got 0", "DDIM"),
    "order_of_unipc": (lambda: gd.UniPC(4), ValueError, "order", "from 1 to 3", "got 4", "DDIM"),
    "variant_of_unipc": (lambda: gd.UniPC(2, "bh3"), ValueError, "variant", "bh1", "bh3", "coefficients"),
    "r_above_1": (lambda: gd.DPMSolver2(1.5), ValueError, "r", r"\(0, 1\]", "1.5", "how far along"),
    "r_zero": (lambda: gd.DPMSolverPP2S(0.0), ValueError, "r", r"\(0, 1\]", "got 0", "how far along"),
    "schedule_of_deis": (lambda: gd.DEIS(3, gd.Cosine), TypeError, "schedule", "gd.Schedule", "Cosine", "Call the class"),
    "sampler_of_afs": (lambda: gd.AFS(gd.Heun), TypeError, "sampler", "gd.Sampler", "Heun", "Call the class"),
    "coefficients_3d": (lambda: gd.LinearMultistep(np.zeros((2, 2, 2))), ValueError, "coefficients", r"\(n, m\)", r"\(2, 2, 2\)", "Row i"),
    "coefficients_nan": (lambda: gd.LinearMultistep(np.full((2, 2), NAN)), ValueError, "coefficients", "finite", "NaN", "leaves a term out"),
    "rows_not_steps": (lambda: gd.sample(gd.LinearMultistep(np.zeros((99, 1))), GAUSSIAN, X, GRID), ValueError, "levels", "99 steps", "got", "row a step"),
    "rows_inside_afs": (lambda: gd.sample(gd.AFS(gd.LinearMultistep(np.zeros((99, 1)))), GAUSSIAN, X, GRID), ValueError, "levels", "99 steps", "got", "row a step"),
    "v_above_1": (lambda: gd.Ancestral(1.5), ValueError, "v", r"\[0, 1\]", "1.5", "beta"),
    "eta_of_the_sde": (lambda: gd.ExponentialSDE(-1.0), ValueError, "eta", ">= 0", "-1", "reverse SDE"),
    "eta_of_2m_sde": (lambda: gd.DPMSolverPP2MSDE(NAN), ValueError, "eta", ">= 0", "nan", "reverse SDE"),
    "r_of_the_sde": (lambda: gd.DPMSolverPPSDE(2.0), ValueError, "r", r"\(0, 1\]", "got 2", "how far along"),
    "s_noise_of_the_sde": (lambda: gd.DPMSolverPPSDE(s_noise=-1.0), ValueError, "s_noise", ">= 0", "-1", "leaves it out"),
    "churn": (lambda: gd.EDMStochastic(-1.0), ValueError, "churn", ">= 0", "-1", "0 is Heun"),
    "s_min_above_s_max": (lambda: gd.EDMStochastic(1.0, 2.0, 1.0), ValueError, "s_min", "s_min <= s_max", "2 and 1", "sigma / alpha"),
    "schedule_of_euler_maruyama": (lambda: gd.EulerMaruyama(gd.Cosine), TypeError, "schedule", "gd.Schedule", "Cosine", "Call the class"),
    "langevin_steps": (lambda: gd.AnnealedLangevin(0), ValueError, "steps", ">= 1", "got 0", "each level"),
    "langevin_step_size": (lambda: gd.AnnealedLangevin(2, 4.0), ValueError, "step_size", r"\(0, 4\)", "got 4", "diverge"),
    "predictor": (lambda: gd.PredictorCorrector(gd.Heun), TypeError, "predictor", "gd.Sampler", "Heun", "Call the class"),
    "snr": (lambda: gd.PredictorCorrector(gd.Heun(), -0.1), ValueError, "snr", ">= 0", "-0.1", "0.16"),
    "corrections": (lambda: gd.PredictorCorrector(gd.Heun(), steps=0), ValueError, "steps", ">= 1", "got 0", "each level"),
    "range_to_clip": (lambda: gd.Clipped(GAUSSIAN, 1.0, -1.0), ValueError, "low, high", "low < high", "1 and -1", "range of the data"),
    "quantile": (lambda: gd.Thresholded(GAUSSIAN, 1.5), ValueError, "quantile", r"\[0, 1\]", "1.5", "0.995"),
    "model_to_clip": (lambda: gd.Clipped(gd.Heun()), TypeError, "model", "gd.Denoiser", "Heun", "Wrap"),
    "weight_of_guidance": (lambda: gd.Guided(GAUSSIAN, GAUSSIAN, NAN), ValueError, "weight", "finite", "nan", "alone"),
    "base_of_guidance": (lambda: gd.Guided(GAUSSIAN, gd.Heun(), 2.0), TypeError, "base", "gd.Denoiser", "Heun", "Wrap"),
    "no_key": (lambda: gd.sample(gd.DDIM(1.0), GAUSSIAN, X, GRID), ValueError, "key", "expected one", "no key", "jax.random.key"),
    "no_key_in_a_switch": (lambda: gd.sample(gd.SwitchAt(gd.Heun(), gd.DDIM(0.5), 0.0), GAUSSIAN, X, GRID), ValueError, "key", "expected one", "no key", "jax.random.key"),
    "nan_start": (lambda: gd.sample(gd.Heun(), GAUSSIAN, X * NAN, GRID), ValueError, "x", "finite", "NaN", "sample_prior"),
    "rising_levels": (lambda: gd.sample(gd.Heun(), GAUSSIAN, X, GRID[::-1]), ValueError, "levels", "falling", "at index 0", "noise to data"),
    "repeated_level": (lambda: gd.sample(gd.Heun(), GAUSSIAN, X, gd.NoiseLevel(1.0, jnp.array([2.0, 1.0, 1.0]))), ValueError, "levels", "falling", "at index 1", "noise to data"),
    "one_level": (lambda: gd.sample(gd.Heun(), GAUSSIAN, X, LEVEL), ValueError, "levels", r"\(n\+1,\)", r"\(\)", "karras"),
    "array_of_sigmas": (lambda: gd.sample(gd.Heun(), GAUSSIAN, X, GRID.sigma), TypeError, "levels", "NoiseLevel", "got", "karras"),
    # the ODE
    "one_time": (lambda: gd.probability_flow(GAUSSIAN, VE, X, [1.0]), ValueError, "times", r"\(n\+1,\)", r"\(1,\)", "start and an end"),
    "times_that_turn": (lambda: gd.probability_flow(GAUSSIAN, VE, X, [3.0, 1.0, 2.0]), ValueError, "times", "strictly", r"\[3. 1. 2.\]", "Sort"),
    "negative_tolerance": (lambda: gd.probability_flow(GAUSSIAN, VE, X, [3.0, 1.0], rtol=-1e-3), ValueError, "rtol", "> 0", "-0.001", "1e-5"),
    "zero_tolerance": (lambda: gd.probability_flow(GAUSSIAN, VE, X, [3.0, 1.0], atol=0.0), ValueError, "atol", "> 0", "got 0", "1e-5"),
    "fixed_step_solver": (lambda: gd.probability_flow(GAUSSIAN, VE, X, [3.0, 1.0], solver=diffrax.Euler()), TypeError, "solver", "adaptive", "Euler", "Tsit5"),
    "ode_nan": (lambda: gd.probability_flow(GAUSSIAN, VE, X * NAN, [3.0, 1.0]), ValueError, "x", "finite", "NaN", "sample_prior"),
    "ode_of_a_function": (lambda: gd.probability_flow(lambda x, t: x, VE, X, [3.0, 1.0]), TypeError, "model", "gd.Denoiser", "function", "Wrap"),
    "level_for_a_schedule": (lambda: gd.probability_flow(GAUSSIAN, GRID, X, [3.0, 1.0]), TypeError, "schedule", "gd.Schedule", "got NoiseLevel", "name the schedule"),
    "schedule_class": (lambda: gd.grids.uniform_time(gd.Cosine, 5), TypeError, "schedule", "gd.Schedule", "got", "Call the class"),
    "reframe_to_a_level": (lambda: gd.reframe(GRID, LEVEL), TypeError, "schedule", "gd.Schedule", "got NoiseLevel", "name the schedule"),
    "max_steps_zero": (lambda: gd.probability_flow(GAUSSIAN, VE, X, [3.0, 1.0], max_steps=0), ValueError, "max_steps", ">= 1", "got 0", "4096"),
    "number_for_a_key": (lambda: gd.sample(gd.DDIM(1.0), GAUSSIAN, X, GRID, 0), TypeError, "key", "jax.random", "got 0", "jax.random.key"),
    "number_for_a_prior_key": (lambda: gd.sample_prior(0, (3,), LEVEL), TypeError, "key", "jax.random", "got 0", "jax.random.key"),
    "number_for_a_noise_key": (lambda: gd.add_noise(0, X, LEVEL), TypeError, "key", "jax.random", "got 0", "jax.random.key"),
    "swapped_sampler": (lambda: gd.sample(GAUSSIAN, gd.Heun(), X, GRID), TypeError, "sampler", "gd.Sampler", "Gaussian", "before the model"),
    "swapped_schedule": (lambda: grids.uniform_time(20, gd.Cosine()), TypeError, "schedule", "gd.Schedule", "got 20", "swapped"),
    "swapped_fit": (lambda: gd.fitting.expectation_maximization(SAMPLES, MIXTURE), TypeError, "mixture", "gd.GaussianMixture", "an array of float64", "comes first"),
    "swapped_save": (lambda: gd.save(GAUSSIAN, "law.npz"), TypeError, "path", "file name", "Gaussian", "gd.save"),
    "swapped_save_recipe": (lambda: gd.save_recipe(gd.Heun(), GRID, "recipe.json"), TypeError, "path", "file name", "Heun", "gd.save_recipe"),
    # search
    "grid_without_key": (lambda: gd.optimal_grid(MIXTURE, gd.Heun(), 4), ValueError, "key", "expected one", "no key", "jax.random.key"),
    "grid_of_no_model": (lambda: gd.optimal_grid(gd.Heun(), GAUSSIAN, 4), TypeError, "model", "gd.Denoiser", "Heun", "Wrap"),
    "grid_of_no_steps": (lambda: gd.optimal_grid(GAUSSIAN, gd.Heun(), 0), ValueError, "n", ">= 1", "got 0", "shape of the grid"),
    "grid_beyond_the_schedule": (lambda: grids.uniform_time(gd.Cosine(), 5, start=2.0), ValueError, "start", r"\[0, 1\]", "2", "Rescale"),
    "flow_beyond_the_schedule": (lambda: gd.probability_flow(GAUSSIAN, gd.Cosine(), X, [2.0, 0.0]), ValueError, "times", r"\[0, 1\]", "2", "Rescale"),
    "likelihood_of_no_time": (lambda: gd.log_likelihood(GAUSSIAN, gd.Cosine(), X, start=1.0, end=1.0), ValueError, "start, end", "start < end", "1 and 1", "leave end out"),
    "likelihood_beyond_the_schedule": (lambda: gd.log_likelihood(GAUSSIAN, gd.Cosine(), X, end=2.0), ValueError, "end", r"\[0, 1\]", "2", "Rescale"),
    "likelihood_of_nan": (lambda: gd.log_likelihood(GAUSSIAN, gd.Cosine(), X * NAN), ValueError, "x", "finite", "NaN", "Leave"),
    "em_on_a_line": (lambda: gd.fitting.expectation_maximization(LINE, SAMPLES[:, :1]), ValueError, "mixture", "D >= 2", "D = 1", "from_samples"),
    "em_of_full_rank": (lambda: gd.fitting.expectation_maximization(FULL, SAMPLES), ValueError, "mixture", "1 to D - 1 = 2", "rank 3", "rank=1"),
    "distance_of_one": (lambda: metrics.median_distance(SAMPLES[:1]), ValueError, "x", "N at least 2", r"\(1, 3\)", "Give more"),
    "all_rows_and_no_clean_level": (lambda: grids.leading(gd.DiscreteBetas([0.1, 0.2]), 2, final_zero=False), ValueError, "n", "less one", "got 2", "fewer"),
    "one_row": (lambda: grids.leading(gd.DiscreteBetas([0.1]), 1, final_zero=False), ValueError, "n", "less one", "got 1", "final_zero=True"),
    "start_of_other_steps": (lambda: gd.optimal_grid(GAUSSIAN, gd.Heun(), 4, start=gd.grids.karras(5)), ValueError, "start", "5 levels", "got 6", "Set n"),
    "shape_unknown": (lambda: gd.optimal_sampler(gd.FromScore(lambda x, level: -x), 4, key=KEY), ValueError, "shape", "one sample", "got none", "Pass shape"),
    "no_paths": (lambda: gd.EndError.of(GAUSSIAN, KEY, 0), ValueError, "paths", ">= 1", "got 0", "hundreds"),
    "more_steps_than_points": (lambda: gd.gits_grid(GAUSSIAN, 61, KEY), ValueError, "n", "1 to 60", "got 61", "Raise points"),
    "rule_of_another_family": (lambda: gd.LinearMultistep.like(gd.IPNDM(), GRID), TypeError, "rule", "remembers x0", "IPNDM", "DPMSolverPP2M"),
    "memory_too_short": (lambda: gd.LinearMultistep.like(gd.DPMSolverPP3M(), GRID, 1), ValueError, "memory", "at least the rule's 2", "got 1", "Leave memory out"),
    "bandwidth_of_copies": (lambda: gd.fitting.choose_bandwidth(SAMPLES, SAMPLES), ValueError, "held_out", "beside the points", "got", "Remove copies"),
    "bandwidth_of_equal_points": (lambda: gd.fitting.choose_bandwidth(np.ones((5, 2)), np.ones((2, 2))), ValueError, "points", "differ", "equal", "no bandwidth"),
    "bandwidth_of_unlike_shapes": (lambda: gd.fitting.choose_bandwidth(SAMPLES, SAMPLES[:, :2]), ValueError, "points, held_out", "one shape", "got", "Split"),
    # measures
    "unequal_predictions": (lambda: metrics.explained_variance(SAMPLES, SAMPLES[:3]), ValueError, "prediction", r"\(10, 3\)", r"\(3, 3\)", "Pair"),
    "constant_target": (lambda: metrics.explained_variance(np.ones((3, 2)), np.ones((3, 2))), ValueError, "target", "differ", "equal", "variance"),
    "nan_features": (lambda: metrics.frechet_distance(SAMPLES, SAMPLES * NAN), ValueError, "b", "finite", "30 NaN", "Remove"),
    "unequal_features": (lambda: metrics.frechet_distance(SAMPLES, SAMPLES[:, :2]), ValueError, "a, b", r"\(N, F\)", r"\(10, 2\)", "Flatten"),
    "unequal_data": (lambda: metrics.nearest_distances(SAMPLES, SAMPLES[:, :2]), ValueError, "x, data", "one shape", r"\(10, 2\)", "Reshape"),
    "kernel_of_two": (lambda: metrics.kernel_distance(SAMPLES, SAMPLES[:2]), ValueError, "a, b", "at least 3", r"\(2, 3\)", "Give more"),
    "no_bandwidth": (lambda: metrics.mmd(SAMPLES, SAMPLES, 0.0), ValueError, "bandwidth", "> 0", "got 0", "median_distance"),
    "one_direction": (lambda: metrics.sliced_wasserstein(SAMPLES, SAMPLES, KEY, 1), ValueError, "directions", ">= 2", "got 1", "standard error"),
    "few_neighbours": (lambda: metrics.precision_recall(SAMPLES, SAMPLES[:3]), ValueError, "samples, data", "at least 4", r"\(3, 3\)", "Give more"),
    "no_neighbours": (lambda: metrics.precision_recall(SAMPLES, SAMPLES, 0), ValueError, "neighbours", ">= 1", "got 0", "paper"),
    "copies_of_nothing": (lambda: metrics.copy_ratios(SAMPLES, SAMPLES, SAMPLES[:0]), ValueError, "x, held_out", "not empty", r"\(0, 3\)", "Give some"),
    "bound_at_sigma_0": (lambda: gd.integrate.elbo(GAUSSIAN, X, GRID, KEY), ValueError, "levels", "sigma > 0", "got 0", "final_zero"),
    "one_bin": (lambda: gd.integrate.discretized_log_prob(X, X, 0.1, 1), ValueError, "bins", ">= 2", "got 1", "256"),
    "unequal_paths": (lambda: gd.exact.path_distance(jnp.ones((3, 2)), jnp.ones((4, 2))), ValueError, "a, b", "one shape", r"\(4, 2\)", "same levels"),
    # what users of other libraries write by habit
    "key_for_a_start": (lambda: gd.sample(gd.Heun(), GAUSSIAN, KEY, GRID), TypeError, "x", "real numbers", "key", "swapped"),
    "levels_for_a_start": (lambda: gd.sample(gd.Heun(), GAUSSIAN, GRID, X), TypeError, "x", "real numbers", "NoiseLevel", "swapped"),
    "schedule_for_levels": (lambda: gd.sample(gd.Heun(), GAUSSIAN, X, VE), TypeError, "levels", "NoiseLevel", "VarianceExploding", "gd.grids.uniform_time"),
    "number_for_levels": (lambda: gd.sample(gd.Heun(), GAUSSIAN, X, 50), TypeError, "levels", "NoiseLevel", "50", r"gd.grids.karras\(50\)"),
    "list_for_levels": (lambda: gd.sample(gd.Heun(), GAUSSIAN, X, [3.0, 1.0, 0.0]), TypeError, "levels", "NoiseLevel", "3.0, 1.0, 0.0", r"gd.NoiseLevel\(1., sigma\)"),
    "keys_for_a_key": (lambda: gd.sample(gd.DDIM(1.0), GAUSSIAN, X, GRID, jax.random.split(KEY, 8)), ValueError, "key", "one key", r"\(8,\)", "jax.vmap"),
    "generator_for_a_key": (lambda: GAUSSIAN.sample(np.random.default_rng(0)), TypeError, "key", "jax.random", "Generator", "jax.random.key"),
    "count_for_a_key": (lambda: MIXTURE.sample(16), TypeError, "key", "jax.random", "16", "jax.random.key"),
    "time_for_a_level": (lambda: gd.score(GAUSSIAN, X, jnp.array(0.5)), TypeError, "level", "NoiseLevel", "float", r"schedule\(t\)"),
    "name_for_a_schedule": (lambda: grids.uniform_time("cosine", 10), TypeError, "schedule", "gd.Schedule", "cosine", r"gd.Cosine\(\)"),
    "grid_to_add_noise": (lambda: gd.add_noise(KEY, X, GRID), ValueError, "level", "single", r"\(5,\)", "jax.vmap"),
    "mixture_for_a_gaussian": (lambda: gd.gaussian_flow(MIXTURE, X, LEVEL, CLEAN), TypeError, "gaussian", "gd.Gaussian", "GaussianMixture", "from_samples"),
    "diagonal_for_a_gaussian": (lambda: gd.gaussian_flow(gd.Diagonal(X, X), X, LEVEL, CLEAN), TypeError, "gaussian", "gd.Gaussian", "Diagonal", "as_gaussian"),
    "several_weights": (lambda: gd.Guided(GAUSSIAN, GAUSSIAN, [1.0, 2.0]), ValueError, "weight", "single number", r"\(2,\)", "alone"),
    "several_etas": (lambda: gd.DDIM([0.0, 1.0]), ValueError, "eta", "single number", r"\(2,\)", "DDPM|deterministic"),
    "text_for_a_number": (lambda: grids.karras(5, "0.002"), TypeError, "sigma_min", "real numbers", "'0.002'", "a number"),
    "yes_for_a_count": (lambda: grids.karras(True), ValueError, "n", "integer", "True", "number of steps"),
    # numbers that are none
    "complex_samples": (lambda: gd.Gaussian.from_samples(SAMPLES + 1j), TypeError, "x", "real numbers", "complex128", "real part"),
    "object_samples": (lambda: gd.Empirical(SAMPLES.astype(object)), TypeError, "points", "real numbers", "object", "np.asarray"),
    "ragged_samples": (lambda: gd.Gaussian.from_samples([[1.0, 2.0], [3.0]]), TypeError, "x", "real numbers", "a list of 2", "np.asarray"),
    "no_samples_at_all": (lambda: gd.Diagonal.from_samples(None), TypeError, "x", "real numbers", "None", "np.asarray"),
    "samples_without_entries": (lambda: gd.Gaussian.from_samples(np.zeros((5, 0))), ValueError, "x", "at least 2", r"\(5, 0\)", "Stack"),
    "traced_samples": (lambda: jax.jit(lambda x: gd.Gaussian.from_samples(x).mean)(SAMPLES), TypeError, "x", "looked at", "traced", "outside jax.jit"),
    "negative_variances": (lambda: gd.commitment(-X, LEVEL), ValueError, "variances", ">= 0", "-1", "squares"),
    "nan_variances": (lambda: gd.transfer(gd.Heun(), GRID, X * NAN), ValueError, "variances", ">= 0", "nan", "squares"),
    "variances_not_a_row": (lambda: gd.transfer(gd.Heun(), GRID, jnp.ones((2, 2))), ValueError, "variances", r"\(K,\)", r"\(2, 2\)", "jax.vmap"),
    "infinite_time": (lambda: VE(np.inf), ValueError, "t", r"\[0, inf\)", "inf", "Rescale"),
    "negative_time_of_a_velocity": (lambda: conversions.velocity_from_x0(X, X, VE, -1.0), ValueError, "t", r"\[0, inf\)", "-1", "Rescale"),
    "negative_count_of_descent": (lambda: gd.OneLayer(0.1).weight(X, LEVEL, -1.0), ValueError, "time", ">= 0", "-1", "steps of descent"),
    # sizes that do not fit
    "unequal_alpha_and_sigma": (lambda: gd.NoiseLevel(jnp.ones(3), jnp.ones(4)), ValueError, "alpha, sigma", "one shape", r"\(4,\)", "same levels"),
    "x0_of_another_shape": (lambda: conversions.noise_from_x0(jnp.ones((8, 3)), X, LEVEL), ValueError, "x0", r"\(3,\)", r"\(8, 3\)", "jax.vmap"),
    "matrix_transposed": (lambda: gd.condition(GAUSSIAN, np.ones((3, 1)), [1.0], 0.1), ValueError, "matrix", r"\(m, 3\)", r"\(3, 1\)", "columns"),
    "reading_of_another_size": (lambda: gd.condition(GAUSSIAN, np.ones((1, 3)), [1.0, 2.0], 0.1), ValueError, "y", r"\(1,\)", r"\(2,\)", "jax.vmap"),
    "numbers_for_a_mask": (lambda: gd.exact.masking([1, 0, 1]), TypeError, "mask", "True", r"\[1, 0, 1\]", "mask > 0"),
    "shape_of_a_vector": (lambda: gd.exact.block_average((16,), 2), ValueError, "shape", r"\(H, W\)", r"\(16,\)", "pixels"),
    "modes_of_another_size": (lambda: gd.Gaussian.from_modes(X, [1.0], np.eye(3), 3.0), ValueError, "eigvals, eigvecs", r"\(r,\)", r"\(3, 3\)", "Column"),
    "class_for_a_component": (lambda: gd.GaussianMixture([0.0], [gd.Gaussian]), TypeError, "components", "gd.Gaussian", "the class Gaussian", "Call the class"),
    "label_too_many": (lambda: gd.GaussianMixture.from_labels(SAMPLES, np.zeros(9)), ValueError, "labels", r"\(10, 3\)", r"\(9,\)", "array"),
    "label_that_is_nan": (lambda: gd.GaussianMixture.from_labels(SAMPLES, np.full(10, NAN)), ValueError, "labels", "a class for each", "NaN", "Remove"),
    "weight_of_another_size": (lambda: gd.AffineLearning.from_gaussian(GAUSSIAN, LEVEL, 0.1, np.eye(2)), ValueError, "weight, bias", r"\(3, 3\)", r"\(2, 2\)", "Leave them out"),
    "list_for_samplers": (lambda: gd.solver_table(GAUSSIAN, [gd.Heun()]), TypeError, "samplers", "dictionary", "a list of 1", "Name each"),
    "array_for_batches": (lambda: gd.Moments.from_batches(3.0), TypeError, "batches", "iterable", "3.0", "gd.Moments.of"),
    "schedule_of_a_network": (lambda: gd.FromVelocity(lambda x, t: x, gd.RectifiedFlow), TypeError, "schedule", "gd.Schedule", "the class RectifiedFlow", "Call the class"),
    "class_for_a_network": (lambda: gd.FromScore(gd.Heun), TypeError, "network", "callable", "the class Heun", "flax"),
    "solver_of_another_kind": (lambda: gd.reverse_sde(GAUSSIAN, VE, X, [3.0, 1.0], key=KEY, solver=gd.Heun(), step=0.1), TypeError, "solver", "diffrax", "Heun", "ShARK"),
    "path_that_is_a_number": (lambda: gd.save(3, GAUSSIAN), TypeError, "path", "file name", "3", "gd.save"),
}  # fmt: skip


@pytest.mark.slow
@zoo.over(TABLE, "row")
def test_bad_input_is_named_with_its_cure(row, unchecked):
    call, error, argument, expected, got, cure = row
    pattern = rf"(?s)^.*\b{argument}\b.*: .*{expected}.*{got}.*({cure})"
    with pytest.raises(error, match=pattern) as caught:
        call()
    message = str(caught.value)
    assert "expected" in message
    assert "got" in message
    assert message.endswith(".")


# name -> (call, cure in its message, what the cure says, done): the last may not fail
CURES_OF_FITS = {
    "points_of_gits": (TABLE["more_steps_than_points"][0], "Raise points", lambda: gd.gits_grid(GAUSSIAN, 61, KEY, points=62, paths=2)),
    "em_on_a_line": (TABLE["em_on_a_line"][0], r"from_samples\(x, components, key=key\)", lambda: gd.GaussianMixture.from_samples(SAMPLES[:, :1], 2, key=KEY)),
    "em_of_full_rank": (TABLE["em_of_full_rank"][0], r"rank=1, key=key\)", lambda: gd.fitting.expectation_maximization(gd.GaussianMixture.from_samples(SAMPLES, 2, rank=1, key=KEY), SAMPLES, 0)),
    "too_many_components": (TABLE["too_many_components"][0], "fewer components", lambda: gd.GaussianMixture.from_samples(SAMPLES, 5, key=KEY)),
    "copies": (lambda: gd.GaussianMixture.from_samples(np.ones((6, 2)), 2, key=KEY), "fewer", lambda: gd.GaussianMixture.from_samples(np.ones((6, 2)), 1, key=KEY)),
}  # fmt: skip

CURES = {
    "likelihood_of_no_time": (TABLE["likelihood_of_no_time"][0], "leave end out", lambda: gd.log_likelihood(GAUSSIAN, gd.Cosine(), X, start=0.5)),
    "equal_samples": (TABLE["equal_samples"][0], r"gd.Gaussian.isotropic\(mean, 0.\)", lambda: gd.Gaussian.isotropic(np.ones(2), 0.0)),
    "asymmetric": (lambda: gd.Gaussian.from_moments(np.zeros(2), COVARIANCE), r"\(cov \+ cov.T\) / 2", lambda: gd.Gaussian.from_moments(np.zeros(2), (COVARIANCE + COVARIANCE.T) / 2)),
    "rank_too_large": (TABLE["rank_too_large"][0], "Leave it out", lambda: gd.Gaussian.from_samples(SAMPLES)),
    "weights_all_zero": (TABLE["weights_all_zero"][0], "jnp.log", lambda: gd.GaussianMixture(jnp.log(jnp.ones(1)), [GAUSSIAN])),
    "alphas": (lambda: gd.DiscreteBetas(np.array([1.0, 0.9, 0.8])), "1 - alpha", lambda: gd.DiscreteBetas(1 - np.array([0.99, 0.9, 0.8]))),
    "sigma_min_zero": (TABLE["sigma_min_zero"][0], "sigma_min above 0 too.*final_zero=True", lambda: grids.karras(5, 0.002, final_zero=True)),
    "rows": (TABLE["all_rows_and_no_clean_level"][0], "fewer", lambda: grids.leading(gd.DiscreteBetas([0.1, 0.2]), 1, final_zero=False)),
    "one_row": (TABLE["one_row"][0], "final_zero=True", lambda: grids.leading(gd.DiscreteBetas([0.1]), 1, final_zero=True)),
    "repeated_level": (TABLE["repeated_level"][0], "each level once", lambda: gd.sample(gd.Heun(), GAUSSIAN, X, gd.NoiseLevel(1.0, jnp.array([2.0, 1.0])))),
    "rising_levels": (TABLE["rising_levels"][0], "from noise to data", lambda: gd.sample(gd.Heun(), GAUSSIAN, X, GRID)),
    "no_key": (TABLE["no_key"][0], r"key=jax.random.key\(seed\)", lambda: gd.sample(gd.DDIM(1.0), GAUSSIAN, X, GRID, key=KEY)),
    "noise_up_the_grid": (lambda: gd.samplers.invert(gd.DDIM(1.0), GAUSSIAN, X, GRID), r"gd.Euler\(\)", lambda: gd.samplers.invert(gd.Euler(), GAUSSIAN, X, GRID)),
    "afs_up_the_grid": (lambda: gd.samplers.invert(gd.AFS(gd.Heun()), GAUSSIAN, X, GRID), r"afs.sampler", lambda: gd.samplers.invert(gd.AFS(gd.Heun()).sampler, GAUSSIAN, X, GRID)),
    "noise_without_signal": (lambda: NOISE_NETWORK.denoise(X, WITHOUT_SIGNAL[0]), r"levels\[1:\]", lambda: NOISE_NETWORK.denoise(X, WITHOUT_SIGNAL[1:][0])),
    "bound_at_sigma_0": (TABLE["bound_at_sigma_0"][0], r"levels\[:-1\]", lambda: gd.integrate.elbo(GAUSSIAN, X, GRID[:-1], KEY)),
    "x_batched": (TABLE["batch_to_denoise"][0], r"jax.vmap\(..., in_axes=\(0, None\)\)", lambda: jax.vmap(GAUSSIAN.denoise, in_axes=(0, None))(jnp.ones((8, 3)), LEVEL)),
    "rule": (TABLE["rule_of_another_family"][0], r"gd.DPMSolverPP2M\(\)", lambda: gd.LinearMultistep.like(gd.DPMSolverPP2M(), GRID)),
    "memory": (TABLE["memory_too_short"][0], "Leave memory out", lambda: gd.LinearMultistep.like(gd.DPMSolverPP3M(), GRID)),
    "one_distance": (TABLE["distance_of_one"][0], "more samples", lambda: metrics.median_distance(SAMPLES[:2])),
    "few_neighbours": (TABLE["few_neighbours"][0], "more samples", lambda: metrics.precision_recall(SAMPLES, SAMPLES[:4])),
    "images": (lambda: metrics.frechet_distance(SAMPLES[:, None], SAMPLES), r"x.reshape\(len\(x\), -1\)", lambda: metrics.frechet_distance(SAMPLES[:, None].reshape(len(SAMPLES), -1), SAMPLES)),
    "large": (TABLE["variances_beyond_float32"][0], "standard deviation", lambda: gd.Gaussian.from_samples((SAMPLES * 1e25).astype(np.float32) / np.float32(1e25))),
    "amount": (lambda: gd.sample(eqx.tree_at(lambda s: s.eta, gd.DDIM(), jnp.array(0.5)), GAUSSIAN, X, GRID, KEY), "another sampler with this eta", lambda: gd.sample(gd.DDIM(0.5), GAUSSIAN, X, GRID, KEY)),
}  # fmt: skip


@zoo.over(CURES, "row")
def test_a_cure_works_when_it_is_followed(row, unchecked):
    """Traced alone, so that nothing is compiled: every check stands outside of what is computed."""
    call, cure, followed = row
    with pytest.raises((TypeError, ValueError), match=f"(?s){cure}"):
        call()
    jax.eval_shape(lambda: jax.tree.leaves(eqx.filter(followed(), eqx.is_array)))


@zoo.over(CURES_OF_FITS, "row")
def test_a_cure_of_a_fit_works_when_it_is_followed(row, unchecked):
    call, cure, followed = row
    with pytest.raises(ValueError, match=f"(?s){cure}"):
        call()
    followed()


def test_no_check_stands_in_the_way_of_tracing(unchecked):
    """What cannot be looked at inside jit is not an error there."""
    inside = jax.jit(lambda x, sigma, eta: gd.sample(gd.DDIM(eta), GAUSSIAN, x, gd.NoiseLevel(1.0, sigma), KEY).x[-1])
    assert np.isfinite(inside(X, GRID.sigma, 0.5)).all()
    assert gd.sample(gd.DDIM(), GAUSSIAN, X, GRID).x.shape == (5, 3)


def test_reversed_log_prob_arguments_do_not_pass_silently(unchecked):
    with pytest.raises((TypeError, ValueError)):
        GAUSSIAN.denoise(LEVEL, X)
