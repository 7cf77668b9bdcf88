"""Measurements on paths and denoisers, each independent of a claim."""

__all__ = [
    "bootstrap",
    "crossing",
    "endpoints",
    "explained",
    "frechet",
    "geometry",
    "latent",
    "latent_model",
    "linear_descent",
    "manifold",
    "noise",
    "patches",
    "paths",
    "probes",
    "quality",
    "stepwise",
]
