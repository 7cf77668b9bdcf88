"""Train denoisers on images and vectors: python -m training train|sample|evaluate.

A trained run is a folder; `load(folder)` gives its network as a gaussdiff Denoiser, `train(config, folder)` makes one.
"""

from .config import Config, preset
from .loop import train
from .network import LearnedDenoiser
from .runs import load, load_config

__all__ = ["Config", "LearnedDenoiser", "load", "load_config", "preset", "train"]
