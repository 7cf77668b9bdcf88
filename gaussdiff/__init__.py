"""Diffusion models whose answers are known in closed form, beside ones that are learned.

One interface, denoise(x, level) = E[x0 | x = alpha x0 + sigma noise], is answered by Gaussians, mixtures, data sets and
trained networks; samplers, ODE solves and losses take any of them. Every function works on one sample: use jax.vmap.

Classes and the functions that most programs call stand here; the others in the package that they belong to, such as
gd.exact, gd.fitting, gd.design, gd.integrate, gd.grids and gd.metrics.
"""

from gaussdiff import (
    conversions,
    denoisers,
    design,
    distributions,
    exact,
    fitting,
    grids,
    integrate,
    losses,
    metrics,
    samplers,
)
from gaussdiff.denoiser import (
    Denoiser,
    Distribution,
    add_noise,
    noise,
    sample_prior,
    score,
    v_prediction,
    velocity,
)
from gaussdiff.denoisers import (
    Clipped,
    FiniteDataDenoiser,
    FromNoisePrediction,
    FromScore,
    FromVelocity,
    FromVPrediction,
    Guided,
    LocalScore,
    Preconditioned,
    Thresholded,
)
from gaussdiff.design import (
    EndError,
    SolverError,
    SolverTable,
    gits_grid,
    kl_divergence,
    optimal_grid,
    optimal_sampler,
    solver_error,
    solver_table,
    transfer,
    wasserstein2,
)
from gaussdiff.distributions import (
    Diagonal,
    Empirical,
    Gaussian,
    GaussianMixture,
    Posterior,
    Separable,
    Streamed,
    Truncated,
)
from gaussdiff.exact import (
    AffineLearning,
    Learning,
    Observed,
    OneLayer,
    PosteriorCovariance,
    PreconditionedLayer,
    TwoLayers,
    commitment,
    condition,
    emergence,
    gaussian_flow,
    gaussian_transition,
    posterior_covariance,
    scalar_flow,
)
from gaussdiff.files import load, load_recipe, save, save_recipe
from gaussdiff.fitting import Moments
from gaussdiff.grids import reframe
from gaussdiff.integrate import (
    EvidenceBound,
    LogLikelihood,
    bits_per_dim,
    log_likelihood,
    probability_flow,
    reverse_sde,
)
from gaussdiff.progress import ProgressBar
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
from gaussdiff.trajectory import Trajectory

__version__ = "0.1.0"

_NAMESPACES = {
    "exact": exact,
    "fitting": fitting,
    "design": design,
    "integrate": integrate,
    "denoisers": denoisers,
    "distributions": distributions,
    "samplers": samplers,
    "grids": grids,
    "metrics": metrics,
    "conversions": conversions,
    "losses": losses,
}


def __getattr__(name: str):
    for namespace, module in _NAMESPACES.items():
        if name[:1] != "_" and hasattr(module, name):
            raise AttributeError(f"module 'gaussdiff' has no attribute {name!r}. Use gd.{namespace}.{name}.")
    raise AttributeError(f"module 'gaussdiff' has no attribute {name!r}.")
