"""Adaptive solves by diffrax: the probability flow, the reverse SDE, and likelihoods along them."""

from gaussdiff.integrate.elbo import EvidenceBound, discretized_log_prob, elbo
from gaussdiff.integrate.likelihood import LogLikelihood, bits_per_dim, log_likelihood
from gaussdiff.integrate.ode import probability_flow
from gaussdiff.integrate.sde import reverse_sde

__all__ = [
    "EvidenceBound",
    "LogLikelihood",
    "bits_per_dim",
    "discretized_log_prob",
    "elbo",
    "log_likelihood",
    "probability_flow",
    "reverse_sde",
]
