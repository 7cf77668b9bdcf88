"""The public functions of the engine as data: for each a call that works, and what kind of thing each argument is.

A kind is a key of WRONG in test_errors_kinds.py; with a question mark None is allowed too. The values make a call that
succeeds when all are passed, so that a wrong value in one place is the only fault. Built on first use: nothing compiles
while tests are collected.
"""

# ruff: noqa: E501  one function to a line

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gaussdiff as gd
from gaussdiff import conversions, denoisers, design, exact, fitting, grids, integrate, losses, metrics


class Call(NamedTuple):
    """A public function, and for each argument its kind and a value with which it works."""

    function: Any
    arguments: dict[str, tuple[str, Any]]

    def good(self) -> dict[str, Any]:
        return {name: value for name, (_, value) in self.arguments.items()}


def network(x, condition):
    return x


def _of(kind: str):
    return lambda value: (kind, value)


@functools.cache
def calls() -> dict[str, Call]:
    """Every public function and class that takes arguments, by its name after gd."""
    rng = np.random.default_rng(0)
    x, samples, images = jnp.asarray(rng.normal(size=3)), rng.normal(size=(10, 3)), rng.normal(size=(6, 4, 4, 1))
    gaussian, diagonal = gd.Gaussian.from_samples(samples), gd.Diagonal.from_samples(samples)
    mixture, points = gd.GaussianMixture([0.0, 0.0], [gaussian, gaussian]), gd.Empirical(samples)
    law = gd.Gaussian.from_samples(samples, rank=1)
    low_rank = gd.GaussianMixture([0.0, 0.0], [law, law])
    separable = gd.Separable(np.zeros((3, 2)), np.ones((3, 2)))
    scalar = gd.GaussianMixture([0.0], [gd.Gaussian.isotropic(np.zeros(1), 1.0)])
    collinear = gd.GaussianMixture([0.0, 0.0], [gd.Gaussian.isotropic(np.full(3, m), 1.0) for m in (0.0, 1.0)])
    one, noisier, grid, key = gd.NoiseLevel(0.8, 0.6), gd.NoiseLevel(1.0, 3.0), grids.karras(4), jax.random.key(0)
    betas, time = gd.DiscreteBetas(np.linspace(1e-3, 0.02, 20)), gd.VarianceExploding()
    learning, three = gd.OneLayer(0.1), jnp.ones(3)

    array, sample, start, many, variances = map(_of, ("array", "sample", "start", "samples", "variances"))
    above_0, at_least_0, number, count, natural = map(_of, ("above 0", "at least 0", "number", "count", "natural"))
    model, sampler, key_of, shape, function = map(_of, ("model", "sampler", "key", "shape", "function"))
    to, at, along, under = ("gaussian", gaussian), ("level", one), ("levels", grid), ("schedule", time)
    of, by, drawn = model(gaussian), sampler(gd.Heun()), key_of(key)
    steps, lam, data = count(4), variances(three), many(samples)
    moved = {"gaussian": to, "x": sample(x), "level": at, "next_level": at}
    path = {"sampler": by, "levels": along}
    spaced = {"n": steps, "sigma_min": above_0(0.002), "sigma_max": above_0(80.0)}
    ends = {"start": ("above 0?", 1.0), "end": at_least_0(0.0)}
    between = {"level": at, "next_level": at}

    return {
        # schedules, levels and grids
        "NoiseLevel": Call(gd.NoiseLevel, {"alpha": array(1.0), "sigma": array(0.5)}),
        "VariancePreserving": Call(gd.VariancePreserving, {"beta_min": above_0(0.1), "beta_max": above_0(20.0)}),
        "SubVariancePreserving": Call(gd.SubVariancePreserving, {"beta_min": above_0(0.1), "beta_max": above_0(20.0)}),
        "Cosine": Call(gd.Cosine, {"offset": at_least_0(0.008)}),
        "VarianceExploding": Call(gd.VarianceExploding, {"sigma_max": above_0(80.0)}),
        "DiscreteBetas": Call(gd.DiscreteBetas, {"betas": array([0.1, 0.2])}),
        "VarianceExploding.__call__": Call(time, {"t": array(0.5)}),
        "Cosine.__call__": Call(gd.Cosine(), {"t": array(0.5)}),
        "DiscreteBetas.__call__": Call(betas, {"t": array(0.5)}),
        "VarianceExploding.time_at": Call(time.time_at, {"log_snr": array(0.5)}),
        "Cosine.time_at": Call(gd.Cosine().time_at, {"log_snr": array(0.5)}),
        "RectifiedFlow.time_at": Call(gd.RectifiedFlow().time_at, {"log_snr": array(0.5)}),
        "grids.karras": Call(grids.karras, {**spaced, "rho": above_0(7.0)}),
        "grids.uniform_log_snr": Call(grids.uniform_log_snr, spaced),
        "grids.uniform_angles": Call(grids.uniform_angles, {**spaced, "variance": above_0(1.0)}),
        "grids.uniform_time": Call(grids.uniform_time, {"schedule": under, "n": steps, **ends}),
        "grids.quadratic_time": Call(grids.quadratic_time, {"schedule": under, "n": steps, **ends}),
        "grids.leading": Call(grids.leading, {"schedule": ("schedule", betas), "n": steps}),
        "grids.trailing": Call(grids.trailing, {"schedule": ("schedule", betas), "n": steps}),
        "grids.linspace": Call(grids.linspace, {"schedule": ("schedule", betas), "n": steps}),
        "grids.reframe": Call(gd.reframe, {"levels": ("grid", grid), "schedule": ("schedule", gd.Cosine())}),
        # what a denoiser says
        "conversions.noise_from_x0": Call(conversions.noise_from_x0, {"x0": sample(x), "x": array(x), "level": at}),
        "conversions.x0_from_noise": Call(conversions.x0_from_noise, {"noise": sample(x), "x": array(x), "level": at}),
        "conversions.score_from_x0": Call(conversions.score_from_x0, {"x0": sample(x), "x": array(x), "level": at}),
        "conversions.x0_from_score": Call(conversions.x0_from_score, {"score": sample(x), "x": array(x), "level": at}),
        "conversions.v_from_x0": Call(conversions.v_from_x0, {"x0": sample(x), "x": array(x), "level": at}),
        "conversions.x0_from_v": Call(conversions.x0_from_v, {"v": sample(x), "x": array(x), "level": at}),
        "conversions.velocity_from_x0": Call(conversions.velocity_from_x0, {"x0": sample(x), "x": array(x), "schedule": under, "t": number(0.5)}),
        "conversions.x0_from_velocity": Call(conversions.x0_from_velocity, {"velocity": sample(x), "x": array(x), "schedule": under, "t": number(0.5)}),
        "noise": Call(gd.noise, {"model": of, "x": sample(x), "level": at}),
        "score": Call(gd.score, {"model": of, "x": sample(x), "level": at}),
        "v_prediction": Call(gd.v_prediction, {"model": of, "x": sample(x), "level": at}),
        "velocity": Call(gd.velocity, {"model": of, "schedule": under, "x": sample(x), "t": number(0.5)}),
        "add_noise": Call(gd.add_noise, {"key": drawn, "x0": array(x), "level": at}),
        "sample_prior": Call(gd.sample_prior, {"key": drawn, "shape": shape((3,)), "level": at}),
        "losses.denoising_loss": Call(losses.denoising_loss, {"model": of, "x0": sample(x), "level": at, "key": drawn, "weight": ("function?", losses.v_weight)}),
        "losses.noise_weight": Call(losses.noise_weight, {"level": ("grid", one)}),
        "losses.v_weight": Call(losses.v_weight, {"level": ("grid", one)}),
        "losses.edm_weight": Call(losses.edm_weight, {"level": ("grid", one), "sigma_data": above_0(0.5)}),
        "losses.min_snr_weight": Call(losses.min_snr_weight, {"level": ("grid", one), "gamma": above_0(5.0)}),
        "losses.edm_level": Call(losses.edm_level, {"key": drawn, "mean": number(-1.2), "std": at_least_0(1.2), "shape": shape((2,))}),
        "Preconditioned": Call(gd.Preconditioned, {"network": function(network), "sigma_data": above_0(0.5)}),
        "FromNoisePrediction": Call(gd.FromNoisePrediction, {"network": function(network)}),
        "FromVPrediction": Call(gd.FromVPrediction, {"network": function(network)}),
        "FromScore": Call(gd.FromScore, {"network": function(network)}),
        "FromVelocity": Call(gd.FromVelocity, {"network": function(network), "schedule": ("schedule", gd.RectifiedFlow())}),
        "Clipped": Call(gd.Clipped, {"model": of, "low": number(-1.0), "high": number(1.0)}),
        "Thresholded": Call(gd.Thresholded, {"model": of, "quantile": at_least_0(0.9), "low": number(-1.0), "high": number(1.0)}),
        "Guided": Call(gd.Guided, {"model": of, "base": of, "weight": number(2.0)}),
        "FiniteDataDenoiser": Call(gd.FiniteDataDenoiser, {"gaussian": to, "count": ("above 0, or inf", 20)}),
        "LocalScore": Call(gd.LocalScore, {"images": many(images), "size": ("above 0", 3), "chunk": steps}),
        "denoisers.effective_noise": Call(denoisers.effective_noise, {"variances": lam, "level": at, "count": ("above 0, or inf", 10.0)}),
        "denoisers.expected_gain": Call(denoisers.expected_gain, {"variances": lam, "level": at, "count": ("above 0, or inf", 10.0)}),
        # laws
        "Gaussian": Call(gd.Gaussian, {"mean": array(x), "eigvals": variances(three), "eigvecs": array(jnp.eye(3)), "residual": at_least_0(0.0)}),
        "Gaussian.from_moments": Call(gd.Gaussian.from_moments, {"mean": array(x), "cov": array(np.eye(3)), "rank": ("count?", 2)}),
        "Gaussian.from_samples": Call(gd.Gaussian.from_samples, {"x": data, "rank": ("count?", 2)}),
        "Gaussian.from_modes": Call(gd.Gaussian.from_modes, {"mean": array(x), "eigvals": variances(np.ones(3)), "eigvecs": array(np.eye(3)), "total": at_least_0(3.0)}),
        "Gaussian.isotropic": Call(gd.Gaussian.isotropic, {"mean": array(x), "variance": at_least_0(1.0)}),
        "Diagonal": Call(gd.Diagonal, {"mean": array(x), "variances": lam}),
        "Diagonal.from_samples": Call(gd.Diagonal.from_samples, {"x": data}),
        "GaussianMixture": Call(gd.GaussianMixture, {"log_weights": array([0.0, 0.0]), "components": ("list", [gaussian, gaussian])}),
        "GaussianMixture.from_samples": Call(gd.GaussianMixture.from_samples, {"x": data, "components": count(2), "rank": ("count?", 1), "key": drawn}),
        "GaussianMixture.from_labels": Call(gd.GaussianMixture.from_labels, {"x": data, "labels": ("labels", np.arange(10) % 2), "rank": ("count?", 1)}),
        "Empirical": Call(gd.Empirical, {"points": data, "bandwidth": at_least_0(0.1), "log_weights": ("array?", np.zeros(10)), "chunk": count(5)}),
        "Empirical.from_labels": Call(gd.Empirical.from_labels, {"points": data, "labels": ("labels", np.arange(10) % 2), "classes": ("count?", 2)}),
        "Separable": Call(gd.Separable, {"means": array(np.zeros((3, 2))), "variances": array(np.ones((3, 2))), "log_weights": ("array?", np.zeros((3, 2)))}),
        "Streamed": Call(gd.Streamed, {"points": ("rows", samples), "bandwidth": at_least_0(0.1), "log_weights": ("array?", np.zeros(10)), "chunk": count(5), "transform": ("function?", lambda rows: rows)}),
        "Truncated": Call(gd.Truncated, {"full": model(points), "tolerance": above_0(1e-6), "rank": count(2), "candidates": steps}),
        **{
            f"{type(law).__name__}.{name}": Call(getattr(law, name), {"x": sample(x), "level": ("level?" if name == "log_prob" else "level", one)})
            for law in (gaussian, diagonal, mixture, points, separable)
            for name in ("denoise", "log_prob", "score")
        },
        **{f"{type(law).__name__}.sample": Call(law.sample, {"key": drawn}) for law in (gaussian, diagonal, mixture, points, separable)},
        "GaussianMixture.responsibilities": Call(mixture.responsibilities, {"x": sample(x), "level": at}),
        "Empirical.posterior": Call(points.posterior, {"x": sample(x), "level": at, "neighbours": steps}),
        "Empirical.covariance_product": Call(points.covariance_product, {"x": sample(x), "level": at, "v": sample(x)}),
        "Empirical.mean_shift": Call(points.mean_shift, {"x": sample(x), "level": at}),
        # fits
        "fitting.choose_bandwidth": Call(fitting.choose_bandwidth, {"points": data, "held_out": many(samples + 1), "chunk": steps}),
        "fitting.expectation_maximization": Call(fitting.expectation_maximization, {"mixture": ("mixture", low_rank), "x": data, "iterations": natural(2), "tolerance": number(1e-6), "floor": at_least_0(1e-6), "chunk": steps}),
        "fitting.Moments.of": Call(gd.Moments.of, {"x": data}),
        "fitting.Moments.from_batches": Call(gd.Moments.from_batches, {"batches": ("list", [samples])}),
        "fitting.ledoit_wolf": Call(fitting.ledoit_wolf, {"x": data}),
        "fitting.shrink": Call(fitting.shrink, {"gaussian": to, "shrinkage": at_least_0(0.1)}),
        # closed forms
        "exact.observe": Call(exact.observe, {"model": of, "matrix": array(np.eye(3)[:1]), "observation_std": ("array", 0.1)}),
        "exact.condition": Call(gd.condition, {"model": of, "matrix": array(np.eye(3)[:1]), "y": array(np.ones(1)), "observation_std": ("array", 0.1)}),
        "exact.multiply": Call(exact.multiply, {"model": of, "likelihood": to}),
        "exact.masking": Call(exact.masking, {"mask": array(np.array([True, False, True]))}),
        "exact.block_average": Call(exact.block_average, {"shape": shape((4, 4)), "factor": count(2)}),
        "exact.convolution": Call(exact.convolution, {"shape": shape((4, 4)), "kernel": array(np.ones((3, 3)))}),
        "exact.posterior_covariance": Call(gd.posterior_covariance, {"model": of, "x": sample(x), "level": at}),
        "exact.gaussian_flow": Call(gd.gaussian_flow, moved),
        "exact.gaussian_transition": Call(gd.gaussian_transition, {**moved, "next_level": ("level", gd.NoiseLevel(0.9, 0.1)), "eta": at_least_0(1.0)}),
        "exact.gaussian_path": Call(exact.gaussian_path, {"gaussian": to, "x": sample(x), "levels": along}),
        "exact.gaussian_perturbation": Call(exact.gaussian_perturbation, {"gaussian": to, "delta": sample(x), **between}),
        "exact.gaussian_marginal": Call(exact.gaussian_marginal, {"gaussian": to, "level": at}),
        "exact.flow_from_prior": Call(exact.flow_from_prior, {"gaussian": to, "level": at, "next_level": ("level?", one)}),
        "exact.flow_log_det": Call(exact.flow_log_det, {"gaussian": to, **between}),
        "exact.flow_log_likelihood": Call(exact.flow_log_likelihood, {"gaussian": to, "x": sample(x), "level": at, "prior_level": ("level", noisier)}),
        "exact.gaussian_frechet": Call(exact.gaussian_frechet, {"a": to, "b": to}),
        "exact.gaussian_kl": Call(exact.gaussian_kl, {"a": to, "b": to}),
        "exact.gaussian_w2": Call(exact.gaussian_w2, {"a": to, "b": to}),
        "exact.gaussian_rotation": Call(exact.gaussian_rotation, {"gaussian": to, "x": sample(x), "levels": along}),
        "exact.gram_matrix": Call(exact.gram_matrix, {"gaussian": to, "levels": along}),
        "exact.path_spectrum": Call(exact.path_spectrum, {"gaussian": to, "levels": along}),
        "exact.best_plane": Call(exact.best_plane, {"path": data, "dimensions": count(2)}),
        "exact.chord_deviation": Call(exact.chord_deviation, {"path": data}),
        "exact.path_distance": Call(exact.path_distance, {"a": data, "b": data}),
        "exact.participation_ratio": Call(exact.participation_ratio, {"spectrum": lam}),
        "exact.components_for_share": Call(exact.components_for_share, {"spectrum": lam, "share": above_0(0.9)}),
        "exact.OneLayer": Call(gd.OneLayer, {"rate": above_0(0.1), "start": number(0.0)}),
        "exact.TwoLayers": Call(gd.TwoLayers, {"rate": above_0(0.1), "start": at_least_0(0.01)}),
        "exact.PreconditionedLayer": Call(gd.PreconditionedLayer, {"rate": above_0(0.1), "sigma_data": above_0(0.5)}),
        "exact.OneLayer.weight": Call(learning.weight, {"variances": lam, "level": at, "time": array(3.0)}),
        "exact.OneLayer.weight_after": Call(learning.weight_after, {"variances": lam, "level": at, "steps": array(3)}),
        "exact.OneLayer.log_gain": Call(learning.log_gain, {"variances": lam, "sigma": variances(3.0), "next_sigma": variances(1.0), "time": array(3.0)}),
        "exact.OneLayer.time_to_learn": Call(learning.time_to_learn, {"variances": lam, "level": at, "fraction": above_0(0.5)}),
        "exact.generated_variance": Call(exact.generated_variance, {"learning": model(learning), "variances": lam, "sigma_max": variances(10.0), "sigma_min": variances(0.1), "time": array(3.0)}),
        "exact.AffineLearning.from_gaussian": Call(gd.AffineLearning.from_gaussian, {"gaussian": to, "level": at, "rate": above_0(0.1), "weight": ("array?", np.eye(3)), "bias": ("array?", np.ones(3))}),
        "exact.log_cdf": Call(exact.log_cdf, {"model": model(scalar), "x": sample(jnp.ones(1)), "level": ("level?", one)}),
        "exact.scalar_flow": Call(gd.scalar_flow, {"model": model(scalar), "x": sample(jnp.ones(1)), **between}),
        "exact.separable_flow": Call(exact.separable_flow, {"model": model(separable), "x": sample(x), **between}),
        "exact.collinear_flow": Call(exact.collinear_flow, {"model": model(collinear), "x": sample(x), **between}),
        "exact.marginal_std": Call(exact.marginal_std, {"variances": lam, "level": at}),
        "exact.commitment": Call(exact.commitment, {"variances": lam, "level": at}),
        "exact.commitment_speed": Call(exact.commitment_speed, {"variances": lam, "level": at}),
        "exact.information": Call(exact.information, {"variances": lam, "level": at}),
        "exact.rotation_residual": Call(exact.rotation_residual, {"variances": lam, "level": at}),
        "exact.emergence": Call(exact.emergence, {"variances": lam, "fraction": above_0(0.5)}),
        # samplers
        "AFS": Call(gd.AFS, {"sampler": by}),
        "DDIM": Call(gd.DDIM, {"eta": at_least_0(0.5)}),
        "DEIS": Call(gd.DEIS, {"order": count(3), "schedule": ("schedule?", time)}),
        "IPNDM": Call(gd.IPNDM, {"order": count(3)}),
        "AdamsBashforth": Call(gd.AdamsBashforth, {"order": count(3)}),
        "Ancestral": Call(gd.Ancestral, {"v": at_least_0(0.5)}),
        "AnnealedLangevin": Call(gd.AnnealedLangevin, {"steps": steps, "step_size": above_0(0.2)}),
        "DPMSolver2": Call(gd.DPMSolver2, {"r": above_0(0.5)}),
        "DPMSolverPP2S": Call(gd.DPMSolverPP2S, {"r": above_0(0.5)}),
        "DPMSolverPP2MSDE": Call(gd.DPMSolverPP2MSDE, {"eta": at_least_0(1.0), "s_noise": at_least_0(1.0)}),
        "DPMSolverPPSDE": Call(gd.DPMSolverPPSDE, {"r": above_0(0.5), "eta": at_least_0(1.0), "s_noise": at_least_0(1.0)}),
        "EDMStochastic": Call(gd.EDMStochastic, {"churn": at_least_0(40.0), "s_min": at_least_0(0.0), "s_max": number(3.0), "s_noise": at_least_0(1.0)}),
        "EulerMaruyama": Call(gd.EulerMaruyama, {"schedule": ("schedule?", time), "eta": at_least_0(1.0)}),
        "ExponentialSDE": Call(gd.ExponentialSDE, {"eta": at_least_0(1.0)}),
        "GaussianExact": Call(gd.GaussianExact, {"gaussian": to}),
        "LinearMultistep": Call(gd.LinearMultistep, {"coefficients": array(np.zeros((4, 1)))}),
        "LinearMultistep.like": Call(gd.LinearMultistep.like, {"rule": sampler(gd.DPMSolverPP2M()), "levels": along, "memory": ("count?", 4)}),
        "PredictorCorrector": Call(gd.PredictorCorrector, {"predictor": by, "snr": at_least_0(0.1), "steps": steps}),
        "SwitchAt": Call(gd.SwitchAt, {"first": by, "second": by, "log_snr": number(0.0)}),
        "UniPC": Call(gd.UniPC, {"order": count(2)}),
        "sample": Call(gd.sample, {"sampler": sampler(gd.DDIM(0.5)), "model": of, "x": start(x), "levels": along, "key": drawn}),
        "invert": Call(gd.invert, {"sampler": by, "model": of, "x": start(x), "levels": along}),
        "sample_batch": Call(gd.sample_batch, {**path, "model": of, "count": steps, "shape": ("shape?", (3,)), "key": drawn, "first": natural(0), "chunk": steps, "callback": ("function?", None), "progress": ("function?", None)}),
        "sample_batch of starts": Call(gd.sample_batch, {**path, "model": of, "starts": ("samples?", samples[:4])}),
        # integrals
        "integrate.probability_flow": Call(gd.probability_flow, {"model": of, "schedule": under, "x": start(x), "times": array([3.0, 1.0]), "solver": ("solver", None), "rtol": above_0(1e-3), "atol": above_0(1e-3), "max_steps": count(4096)}),
        "integrate.log_likelihood": Call(gd.log_likelihood, {"model": of, "schedule": under, "x": start(x), "start": ("number?", 0.1), "end": ("number?", 3.0), "solver": ("solver", None), "rtol": above_0(1e-3), "atol": above_0(1e-3), "probes": ("count?", 2), "key": drawn, "prior": ("model?", gaussian)}),
        "integrate.reverse_sde": Call(gd.reverse_sde, {"model": of, "schedule": under, "x": start(x), "times": array([3.0, 1.0]), "key": drawn, "eta": at_least_0(1.0), "solver": ("solver", None), "step": ("above 0?", 0.1)}),
        "integrate.elbo": Call(integrate.elbo, {"model": of, "x": sample(x), "levels": ("levels", grids.karras(3, final_zero=False)), "key": drawn, "v": at_least_0(0.0), "bins": ("count?", 256)}),
        "integrate.discretized_log_prob": Call(integrate.discretized_log_prob, {"x": array(x), "mean": sample(x), "std": above_0(0.1), "bins": count(256)}),
        "integrate.bits_per_dim": Call(gd.bits_per_dim, {"nats": array(1.0), "size": steps, "levels": steps, "width": above_0(2.0)}),
        # design
        "design.transfer": Call(gd.transfer, {**path, "variances": lam}),
        "design.injected_variance": Call(design.injected_variance, {**path, "variances": lam}),
        "design.generated": Call(design.generated, {**path, "gaussian": to}),
        "design.wasserstein2": Call(design.wasserstein2, {**path, "gaussian": to, "level": ("level?", one)}),
        "design.kl_divergence": Call(design.kl_divergence, {**path, "gaussian": to, "level": ("level?", one)}),
        "design.relative_error": Call(design.relative_error, {**path, "gaussian": to}),
        "design.solver_error": Call(design.solver_error, {**path, "gaussian": to}),
        "design.gits_grid": Call(gd.gits_grid, {"model": of, "n": steps, "key": drawn, "gamma": above_0(1.15), "paths": count(8), "points": count(11), "sigma_min": above_0(0.01), "sigma_max": above_0(10.0), "shape": ("shape?", (3,))}),
        "design.EndError.of": Call(gd.EndError.of, {"model": of, "key": drawn, "paths": count(8), "shape": ("shape?", (3,)), "batch": count(4)}),
        "design.optimal_grid": Call(gd.optimal_grid, {"model": of, "sampler": by, "n": steps, "sigma_min": above_0(0.01), "sigma_max": above_0(10.0), "steps": natural(2), "rate": above_0(0.1), "tries": count(1), "teleport": ("gaussian?", gaussian)}),
        "design.optimal_sampler": Call(gd.optimal_sampler, {"model": of, "n": steps, "key": drawn, "memory": count(2), "sigma_min": above_0(0.01), "sigma_max": above_0(10.0), "paths": count(8), "steps": natural(2), "rate": above_0(0.1)}),
        "design.solver_table": Call(gd.solver_table, {"gaussian": to, "samplers": ("table?", {"Heun": gd.Heun()}), "grids": ("table?", {"karras": grids.karras}), "calls": ("list", (4,))}),
        # metrics
        "metrics.frechet_distance": Call(metrics.frechet_distance, {"a": data, "b": data}),
        "metrics.kernel_distance": Call(metrics.kernel_distance, {"a": data, "b": data}),
        "metrics.mmd": Call(metrics.mmd, {"a": data, "b": data, "bandwidth": above_0(1.0)}),
        "metrics.sliced_wasserstein": Call(metrics.sliced_wasserstein, {"a": data, "b": data, "key": drawn, "directions": steps}),
        "metrics.median_distance": Call(metrics.median_distance, {"x": data}),
        "metrics.nearest_distances": Call(metrics.nearest_distances, {"x": data, "data": data, "chunk": steps}),
        "metrics.copy_ratios": Call(metrics.copy_ratios, {"x": data, "data": data, "held_out": data}),
        "metrics.precision_recall": Call(metrics.precision_recall, {"samples": data, "data": data, "neighbours": steps}),
        "metrics.explained_variance": Call(metrics.explained_variance, {"target": data, "prediction": data}),
        "metrics.explained_by_entry": Call(metrics.explained_by_entry, {"target": data, "prediction": data}),
        # files
        "save": Call(gd.save, {"path": ("path", "law.npz"), "distribution": of}),
        "save_recipe": Call(gd.save_recipe, {"path": ("path", "recipe.json"), "sampler": by, "levels": along}),
    }  # fmt: skip
