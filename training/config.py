"""The settings of one training run: a frozen record, saved beside the weights and never inside jit."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Fields that say how long to train and how often to look. They do not change what step k computes, so an existing run
# may be continued with other values; every other field is fixed once the run has started.
CADENCE = frozenset({"steps", "checkpoint_every", "log_every", "evaluate_every"})


@dataclass(frozen=True)
class Settings:
    """What decides what a run computes; the defaults are those of the data set."""

    # Apart from Config because a command-line parser builds it, and rewords errors that it meets while doing so.

    data: str = "digits"  # data set: "digits", a 2-D toy, or any tensorflow-datasets name
    data_dir: str | None = None  # folder of prepared tensorflow-datasets; None: TFDS_DATA_DIR, then its own default
    held_out: float = 0.2  # share kept out of training, by content; unused where the set has its own test split
    labels: bool = False  # learn class-conditional denoisers as well as the unconditional one
    label_dropout: float = 0.1  # share of training images whose label is hidden, which trains the unconditional one
    channels: int = 32  # width at full resolution (of every layer, for vectors)
    channel_mult: tuple[int, ...] = (1, 2)  # width at each resolution, as multiples; each entry halves the side
    blocks: int = 1  # residual blocks per resolution, on the way down and again on the way up
    attention: tuple[int, ...] = (4,)  # image heights at which blocks also attend; small ones, the cost is height^4
    groups: int = 8  # groups of the group norms; they must divide every width
    sigma_data: float = 0.75  # standard deviation of the data about its overall mean, for the EDM preconditioning
    level_mean: float = -1.2  # mean of log sigma in training (EDM)
    level_std: float = 1.2  # standard deviation of log sigma in training (EDM)
    batch: int = 96  # images per step
    steps: int = 1000  # optimizer steps in all; may grow later to continue a run
    learning_rate: float = 2e-3  # Adam's largest step size
    warmup: int = 100  # steps over which the learning rate rises from 0
    hold: int = 600  # steps at the full rate; then it falls as 1/sqrt(step), which needs no final step to be known
    clip: float = 1.0  # largest global norm of the gradient
    weight_decay: float = 0.0  # decoupled (AdamW)
    ema_decay: float = 0.995  # largest decay of the averaged weights; it warms up as (1 + n) / (10 + n)
    seed: int = 0  # of the initial weights, the batches and the noise
    checkpoint_every: int = 200  # steps between saved states
    log_every: int = 50  # steps between lines of train.jsonl
    evaluate_every: int = 200  # steps between looks at the held-out loss


@dataclass(frozen=True)
class Config(Settings):
    """Settings whose every field was checked: ValueError names the field, what was expected, what came and the cure."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(field.name, getattr(self, field.name))

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary that JSON can hold."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Config":
        """Rebuild a Config; ValueError where `saved` has fields that this version does not know."""
        unknown = sorted(set(saved) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(f"config has unknown fields {unknown}: it was written by another version of this program")
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in saved.items()}
        return cls(**fields)


# What differs from the digits; "toy-" stands for every toy.
PRESETS: dict[str, dict[str, Any]] = {
    "mnist": {
        "channel_mult": (1, 2, 2),
        "attention": (7,),
        "blocks": 2,
        "sigma_data": 0.6,
        "batch": 128,
        "steps": 20_000,
        "hold": 5000,
        "ema_decay": 0.999,
    },
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
        "ema_decay": 0.9999,
    },
    "toy-": {"channels": 128, "channel_mult": (1,), "blocks": 3, "attention": (), "sigma_data": 1.0, "batch": 512},
}


def preset(data: str) -> Config:
    """Return sensible settings for a data set: those of the digits, with what differs for `data`."""
    return Config(data=data, **PRESETS.get("toy-" if data.startswith("toy-") else data, {}))


def differences(saved: Config, asked: Config) -> list[str]:
    """Return "field: saved -> asked" for each field that may not change on an existing run."""
    names = [field.name for field in dataclasses.fields(Config) if field.name not in CADENCE | {"data_dir"}]
    return [
        f"{name}: {getattr(saved, name)} -> {getattr(asked, name)}"
        for name in names
        if getattr(saved, name) != getattr(asked, name)
    ]


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_tuple(value: object) -> bool:
    return isinstance(value, tuple) and all(_is_int(v) and v > 0 for v in value)


_Rule = tuple[str, Callable[[Any], bool]]
_POSITIVE_INT: _Rule = ("an integer of at least 1", lambda v: _is_int(v) and v >= 1)
_COUNT: _Rule = ("an integer of at least 0", lambda v: _is_int(v) and v >= 0)
_POSITIVE: _Rule = ("a finite number above 0", lambda v: _is_real(v) and v > 0)
_NOT_NEGATIVE: _Rule = ("a finite number of at least 0", lambda v: _is_real(v) and v >= 0)
_SHARE: _Rule = ("a number in [0, 1)", lambda v: _is_real(v) and 0 <= v < 1)
_BOOL: _Rule = ("True or False", lambda v: isinstance(v, bool))

_RULES: dict[str, _Rule] = {
    "data": ("the name of a data set", lambda v: isinstance(v, str) and v != ""),
    "data_dir": ("a folder, or None", lambda v: v is None or isinstance(v, str)),
    "held_out": (
        "a number in (0, 1), to judge the run by",
        lambda v: _is_real(v) and 0 < v < 1,
    ),
    "labels": _BOOL,
    "label_dropout": _SHARE,
    "channels": _POSITIVE_INT,
    "channel_mult": ("a tuple of at least one positive integer", lambda v: _is_tuple(v) and len(v) > 0),
    "blocks": _POSITIVE_INT,
    "attention": ("a tuple of positive integers, or ()", _is_tuple),
    "groups": _POSITIVE_INT,
    "sigma_data": _POSITIVE,
    "level_mean": ("a finite number", _is_real),
    "level_std": _POSITIVE,
    "batch": _POSITIVE_INT,
    "steps": _COUNT,
    "learning_rate": _POSITIVE,
    "warmup": _COUNT,
    "hold": _COUNT,
    "clip": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "ema_decay": _SHARE,
    "seed": ("an integer in [0, 2**32)", lambda v: _is_int(v) and 0 <= v < 2**32),
    "checkpoint_every": _POSITIVE_INT,
    "log_every": _POSITIVE_INT,
    "evaluate_every": _POSITIVE_INT,
}


def check(name: str, value: object) -> None:
    """Raise ValueError where `value` is none for the field `name`."""
    expected, holds = _RULES[name]
    if not holds(value):
        raise ValueError(f"{name}: expected {expected}, got {value!r}; set --{name.replace('_', '-')} to such a value")
