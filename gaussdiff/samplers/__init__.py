"""Samplers: one method a file, all through `sample`."""

from gaussdiff.samplers.base import Sampler, Step, sample
from gaussdiff.samplers.ddim import DDIM
from gaussdiff.samplers.dpmsolverpp import DPMSolverPP2M
from gaussdiff.samplers.euler import Euler
from gaussdiff.samplers.gaussian_exact import GaussianExact
from gaussdiff.samplers.heun import Heun
from gaussdiff.samplers.switch import SwitchAt

__all__ = ["DDIM", "DPMSolverPP2M", "Euler", "GaussianExact", "Heun", "Sampler", "Step", "SwitchAt", "sample"]
