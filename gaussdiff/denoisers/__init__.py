"""Denoisers without a law of their own: networks, and denoisers around denoisers."""

from gaussdiff.denoisers.finite_data import FiniteDataDenoiser, effective_noise, expected_gain
from gaussdiff.denoisers.guidance import Guided
from gaussdiff.denoisers.local import LocalScore
from gaussdiff.denoisers.network import FromNoisePrediction, FromScore, FromVelocity, FromVPrediction, Preconditioned
from gaussdiff.denoisers.thresholding import Clipped, Thresholded

__all__ = [
    "Clipped",
    "FiniteDataDenoiser",
    "FromNoisePrediction",
    "FromScore",
    "FromVPrediction",
    "FromVelocity",
    "Guided",
    "LocalScore",
    "Preconditioned",
    "Thresholded",
    "effective_noise",
    "expected_gain",
]
