"""Settings by data set: what differs from those of the digits."""

import dataclasses
from typing import Any

from training.config import Config, Settings

_MNIST: dict[str, Any] = {
    "channel_mult": (1, 2, 2),
    "attention": (7,),
    "blocks": 2,
    "sigma_data": 0.6,
    "batch": 128,
    "steps": 20_000,
    "hold": 5000,
    "ema_half_lives": (90_000.0,),
    "keep_powers": True,
}
_FACES: dict[str, Any] = {
    "image_size": 64,
    "channels": 128,
    "channel_mult": (1, 2, 2, 2),
    "attention": (16, 8),
    "blocks": 2,
    "sigma_data": None,
    "batch": 256,
    "steps": 200_000,
    "learning_rate": 2e-4,
    "warmup": 2000,
    "hold": 100_000,
    "dropout": 0.05,
    "ema_half_lives": (500_000.0, 2_000_000.0),
    "flip": True,
    "dtype": "bfloat16",
}
TOYS = ("toy-gaussian", "toy-mixture", "toy-ring")
# What differs from the digits; "toy-" stands for every toy, "celeba64" and "afhq64" for folders of that name.
PRESETS: dict[str, dict[str, Any]] = {
    "mnist": _MNIST,
    "fashion_mnist": _MNIST,
    "cifar10": {
        "channels": 128,
        "channel_mult": (1, 2, 2),
        "attention": (16, 8),
        "blocks": 3,
        "sigma_data": 0.5,
        "batch": 256,
        "steps": 200_000,
        "learning_rate": 1e-3,
        "warmup": 2000,
        "hold": 50_000,
        "ema_half_lives": (500_000.0, 2_000_000.0),
        "flip": True,
    },
    "celeba64": _FACES,
    "afhq64": _FACES,
    "toy-": {
        "channels": 128,
        "channel_mult": (1,),
        "blocks": 3,
        "attention": (),
        "sigma_data": 1.0,
        "batch": 512,
        "keep_powers": True,
    },
}
_DIGITS: dict[str, Any] = {"keep_powers": True}
_UNKNOWN: dict[str, Any] = {"sigma_data": None, "attention": ()}


def preset(data: str, like: str | None = None) -> Config:
    """Sensible settings for a data set: those of the digits, with what differs for `data` or its last folder.

    The scale of data that are not known here is measured, and their networks do not attend. like: the preset to take
    instead, for data that are like those; their scale is measured. ValueError for one that is not there.
    """
    if like is not None:
        if like not in (known := [Settings.data, *PRESETS]):
            raise ValueError(f"preset: expected one of {', '.join(known)}, got {like!r}; correct --preset")
        return dataclasses.replace(preset(like), data=data, sigma_data=None)
    name = "toy-" if data in TOYS else data.rstrip("/").rsplit("/", 1)[-1]
    # A folder that is called digits is none of scikit-learn's.
    return Config(data=data, **(_DIGITS if data == Settings.data else PRESETS.get(name, _UNKNOWN)))
