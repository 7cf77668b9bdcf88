"""Laws known in closed form: each a Denoiser with a density and samples at every noise level."""

from gaussdiff.distributions.diagonal import Diagonal
from gaussdiff.distributions.empirical import Empirical, Posterior
from gaussdiff.distributions.gaussian import Gaussian
from gaussdiff.distributions.mixture import GaussianMixture
from gaussdiff.distributions.separable import Separable
from gaussdiff.distributions.streamed import Streamed
from gaussdiff.distributions.truncated import Truncated

__all__ = ["Diagonal", "Empirical", "Gaussian", "GaussianMixture", "Posterior", "Separable", "Streamed", "Truncated"]
