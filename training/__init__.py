"""Train denoisers on images and vectors: python -m training train|sample|evaluate|export.

A trained run is a folder; `load(folder)` gives its network as a gaussdiff Denoiser, `train(config, folder)` makes one.
`export(folder, file)` writes its weights as one file, which `load` takes as well.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__all__ = ["Config", "LearnedDenoiser", "export", "load", "load_config", "preset", "train"]

if TYPE_CHECKING:
    from training.config import Config
    from training.loop import train
    from training.networks.denoiser import LearnedDenoiser
    from training.presets import preset
    from training.runs import export, load, load_config
else:
    # Imported only when asked for: the program answers Ctrl-C before jax is imported.
    _HOMES = {
        "Config": "config",
        **dict.fromkeys(("export", "load", "load_config"), "runs"),
        "LearnedDenoiser": "networks.denoiser",
        "preset": "presets",
        "train": "loop",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
