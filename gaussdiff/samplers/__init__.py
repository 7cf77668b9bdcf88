"""Samplers: one method a file, all through `sample`."""

from gaussdiff.samplers.adams import IPNDM, AdamsBashforth
from gaussdiff.samplers.afs import AFS
from gaussdiff.samplers.ancestral import Ancestral
from gaussdiff.samplers.base import Sampler, Step
from gaussdiff.samplers.batch import sample_batch
from gaussdiff.samplers.ddim import DDIM
from gaussdiff.samplers.deis import DEIS
from gaussdiff.samplers.dpm import DPMSolver2, DPMSolver3
from gaussdiff.samplers.dpmpp import DPMSolverPP2M, DPMSolverPP2S, DPMSolverPP3M
from gaussdiff.samplers.dpmpp_sde import DPMSolverPP2MSDE, DPMSolverPPSDE
from gaussdiff.samplers.edm import EDMStochastic
from gaussdiff.samplers.euler import Euler
from gaussdiff.samplers.euler_maruyama import EulerMaruyama
from gaussdiff.samplers.exponential import ExponentialSDE
from gaussdiff.samplers.gaussian_exact import GaussianExact
from gaussdiff.samplers.heun import Heun
from gaussdiff.samplers.langevin import AnnealedLangevin
from gaussdiff.samplers.linear_multistep import LinearMultistep
from gaussdiff.samplers.predictor_corrector import PredictorCorrector
from gaussdiff.samplers.sample import invert, sample
from gaussdiff.samplers.switch import SwitchAt
from gaussdiff.samplers.unipc import UniPC

__all__ = [
    "AFS",
    "DDIM",
    "DEIS",
    "IPNDM",
    "AdamsBashforth",
    "Ancestral",
    "AnnealedLangevin",
    "DPMSolver2",
    "DPMSolver3",
    "DPMSolverPP2M",
    "DPMSolverPP2MSDE",
    "DPMSolverPP2S",
    "DPMSolverPP3M",
    "DPMSolverPPSDE",
    "EDMStochastic",
    "Euler",
    "EulerMaruyama",
    "ExponentialSDE",
    "GaussianExact",
    "Heun",
    "LinearMultistep",
    "PredictorCorrector",
    "Sampler",
    "Step",
    "SwitchAt",
    "UniPC",
    "invert",
    "sample",
    "sample_batch",
]
