"""Diffusion models whose answers are known in closed form, beside ones that are learned.

One interface, denoise(x, level) = E[x0 | x = alpha x0 + sigma noise], is answered by Gaussians, mixtures, data sets and
trained networks; samplers, ODE solves and losses take any of them. Every function works on one sample: use jax.vmap.
"""

from gaussdiff import conversions, grids, losses, metrics
from gaussdiff.bandwidth import choose_bandwidth
from gaussdiff.conditioning import Observed, block_average, condition, convolution, masking, multiply, observe
from gaussdiff.denoiser import (
    Denoiser,
    Distribution,
    FromNoisePrediction,
    FromScore,
    FromVelocity,
    FromVPrediction,
    Preconditioned,
    add_noise,
    noise,
    sample_prior,
    score,
    v_prediction,
    velocity,
)
from gaussdiff.diagonal import Diagonal
from gaussdiff.divergence import gaussian_frechet, gaussian_kl, gaussian_w2
from gaussdiff.elbo import EvidenceBound, discretized_log_prob, elbo
from gaussdiff.em import expectation_maximization
from gaussdiff.empirical import Empirical, Posterior
from gaussdiff.exact import (
    best_plane,
    components_for_share,
    flow_from_prior,
    flow_log_det,
    flow_log_likelihood,
    gaussian_flow,
    gaussian_marginal,
    gaussian_path,
    gaussian_perturbation,
    gaussian_rotation,
    gaussian_transition,
    gram_matrix,
    participation_ratio,
    path_spectrum,
)
from gaussdiff.files import load, load_recipe, save, save_recipe
from gaussdiff.finite_data import FiniteDataDenoiser, effective_noise, expected_gain
from gaussdiff.gaussian import Gaussian
from gaussdiff.gits import gits_grid
from gaussdiff.grids import reframe
from gaussdiff.guidance import Guided
from gaussdiff.integrate import probability_flow
from gaussdiff.learning import (
    AffineLearning,
    Learning,
    OneLayer,
    PreconditionedLayer,
    TwoLayers,
    generated_variance,
)
from gaussdiff.likelihood import LogLikelihood, bits_per_dim, log_likelihood
from gaussdiff.local import LocalScore
from gaussdiff.mixture import GaussianMixture
from gaussdiff.modes import (
    commitment,
    commitment_speed,
    emergence,
    information,
    marginal_std,
    rotation_residual,
)
from gaussdiff.moments import Moments, ledoit_wolf, shrink
from gaussdiff.neighbours import Truncated
from gaussdiff.posterior import PosteriorCovariance, posterior_covariance
from gaussdiff.progress import ProgressBar
from gaussdiff.recipes import EndError
from gaussdiff.samplers import (
    AFS,
    DDIM,
    DEIS,
    IPNDM,
    AdamsBashforth,
    Ancestral,
    AnnealedLangevin,
    DPMSolver2,
    DPMSolver3,
    DPMSolverPP2M,
    DPMSolverPP2MSDE,
    DPMSolverPP2S,
    DPMSolverPP3M,
    DPMSolverPPSDE,
    EDMStochastic,
    Euler,
    EulerMaruyama,
    ExponentialSDE,
    GaussianExact,
    Heun,
    LinearMultistep,
    PredictorCorrector,
    Sampler,
    Step,
    SwitchAt,
    UniPC,
    invert,
    sample,
    sample_batch,
)
from gaussdiff.schedules import (
    Cosine,
    DiscreteBetas,
    NoiseLevel,
    RectifiedFlow,
    Schedule,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
)
from gaussdiff.search import optimal_grid, optimal_sampler
from gaussdiff.spectral import (
    SolverError,
    generated,
    injected_variance,
    kl_divergence,
    relative_error,
    solver_error,
    transfer,
    wasserstein2,
)
from gaussdiff.stochastic import reverse_sde
from gaussdiff.streamed import Streamed
from gaussdiff.table import SolverTable, solver_table, standard_grids, standard_samplers
from gaussdiff.thresholding import Clipped, Thresholded
from gaussdiff.trajectory import Trajectory, chord_deviation, path_distance
from gaussdiff.univariate import Separable, collinear_flow, log_cdf, scalar_flow, separable_flow

__version__ = "0.1.0"
