"""The settings of one training run: a frozen record, saved beside the weights and never inside jit."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

# Fields that say how long to train, how often to evaluate, and where the work is done. They do not change what step k
# computes of the same data (but for the rounding of other microbatches or another device count), so an existing run
# may be continued with other values; every other field is fixed once the run has started.
CADENCE = frozenset({"steps", "checkpoint_every", "keep_last", "keep_every", "keep_powers", "log_every"})
CADENCE |= {"evaluate_every", "sample_every", "explain"}
CADENCE |= {"data_dir", "data_on", "accept_data", "accumulate", "remat", "sharding"}


@dataclass(frozen=True)
class Settings:
    """What decides what a run computes; the defaults are those of the data set."""

    # Apart from Config because a command-line parser builds it, and rewords errors that it meets while doing so.

    data: str = "digits"  # "digits", a 2-D toy, a tensorflow-datasets name, a folder of images, an .npy or .npz file
    data_dir: str | None = None  # folder of prepared tensorflow-datasets; None: TFDS_DATA_DIR, then its own default
    image_size: int | None = None  # side to which a folder's images are cropped and resized; None: as they are
    held_out: float = 0.2  # fraction held out of training, by content; unused where the set has its own test split
    flip: bool = False  # mirror training images left to right, each with probability 1/2
    data_on: str = "auto"  # where training data live: "device", "host" (prefetched), "auto": device below 1 GiB
    accept_data: bool = False  # continue on data whose fingerprint is not that of the run, with a warning
    labels: bool = False  # learn class-conditional denoisers as well as the unconditional one
    condition_dropout: float = 0.1  # fraction of images whose label or small image is hidden: unconditional ones
    super_resolution: int = 1  # 2 or more: learn to sharpen; the network also sees the image shrunk by this factor
    network: str = "auto"  # "unet", "dit", "mlp"; "auto": a U-Net for images, an MLP for vectors
    channels: int = 32  # width at full resolution (of every layer, for vectors and transformers)
    channel_mult: tuple[int, ...] = (1, 2)  # U-Net: width at each resolution, as multiples; each entry halves the side
    blocks: int = 1  # residual blocks per resolution, on the way down and again on the way up; or layers in all
    attention: tuple[int, ...] = (4,)  # U-Net: image heights at which blocks also attend; the cost is height^4
    groups: int = 8  # groups of the group norms; they must divide every width
    patch: int = 2  # transformer: side of the square of pixels that makes one token
    dropout: float = 0.0  # fraction of hidden units dropped in training
    time_embedding: str = "sinusoidal"  # of the noise level: "sinusoidal", or "fourier" with random frequencies
    dtype: str = "float32"  # of the network's products: "float32" or "bfloat16"; norms, loss and state stay float32
    remat: bool = False  # compute activations again on the way back: less memory, more time
    objective: str = "edm"  # what the network predicts: "edm", "noise", "x0", "v", "flow" (velocity) or "score"
    weighting: str = "output"  # error of the "output", or of "x0", "noise", "v"; "edm", "min-snr", "likelihood"
    min_snr: float = 5.0  # where min-SNR weighting stops growing
    uncertainty: bool = False  # also learn, per noise level, how hard it is, and weigh by that
    schedule: str = "exploding"  # of uniform-time: "exploding", "preserving", "cosine", "sub-vp", "flow" or "betas"
    schedule_parameters: tuple[float, ...] = ()  # its own: beta_min, beta_max; offset; first, last beta and their count
    levels: str = "log-normal"  # of sigma / alpha: "log-normal", or uniform: "uniform-time", "uniform-log-snr"
    level_mean: float = -1.2  # mean of log(sigma / alpha) of log-normal levels
    level_std: float = 1.2  # standard deviation of log(sigma / alpha) of log-normal levels
    sigma_min: float = 0.002  # smallest sigma / alpha: of uniform levels, and that runs are sampled and evaluated at
    sigma_max: float = 80.0  # largest sigma / alpha, in the same places
    stratified: bool = False  # spread the levels of a batch evenly (one for each of `batch` equal probabilities)
    sigma_data: float | None = 0.75  # standard deviation of the data about its overall mean; None: measured
    batch: int = 96  # images per step
    accumulate: int = 0  # microbatches that a batch is computed in, one after the other; 0: as many as suit a CPU
    steps: int = 1000  # optimizer steps in all; may grow later to continue a run
    learning_rate: float = 2e-3  # Adam's largest step size
    warmup: int = 100  # steps over which the learning rate rises from 0
    hold: int = 600  # steps at the full rate before it falls
    decay: str = "root"  # how it falls: "root" (1/sqrt(step), no last step to be known), "cosine" to 0, "constant"
    clip: float = 1.0  # largest global norm of the gradient
    weight_decay: float = 0.0  # decoupled (AdamW)
    ema_half_lives: tuple[float, ...] = (13_000.0,)  # of the averaged weights, in images; the first is used by default
    seed: int = 0  # of the initial weights, the batches and the noise
    sharding: str = "replicated"  # over several devices: "replicated" weights, or "full": weights are split as well
    checkpoint_every: int = 200  # steps between checkpoints
    keep_last: int = 2  # newest checkpoints that stay
    keep_every: int = 0  # also keep every checkpoint whose step is a multiple of this; 0: none
    keep_powers: bool = False  # also keep checkpoints of steps 1, 2, 4, 8, ..: the order in which things are learned
    log_every: int = 50  # steps between lines of train.jsonl
    evaluate_every: int = 200  # steps between evaluations of the held-out loss
    sample_every: int = 0  # steps between pictures of samples; 0: none
    explain: bool = False  # at each evaluation, also measure how much of the network the closed-form twins explain


@dataclass(frozen=True)
class Config(Settings):
    """Settings whose every field was checked: ValueError names the field, what was expected, what came and the cure."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check(field.name, getattr(self, field.name))
        if self.accumulate and self.batch % self.accumulate:
            raise ValueError(
                f"accumulate: expected a divisor of the batch, got {self.accumulate} for {self.batch} images; "
                "change --accumulate or --batch"
            )
        if self.sigma_min >= self.sigma_max:
            raise ValueError(
                f"sigma_min: expected less than sigma_max, got {self.sigma_min} and {self.sigma_max}; "
                "set --sigma-min below --sigma-max"
            )

        if self.schedule_parameters and self.levels != "uniform-time":
            raise ValueError(
                f"schedule_parameters: expected none with levels {self.levels!r}, which do not depend on the schedule, "
                f"got {self.schedule_parameters}; add --levels uniform-time"
            )
        if self.explain:
            self.check_unconditional("explain")
        if self.decay == "cosine" and 0 < self.steps <= self.warmup + self.hold:
            raise ValueError(
                f"hold: expected warmup + hold below the steps, for the rate to fall, got {self.warmup} + {self.hold} "
                f"of {self.steps}; lower --hold or raise --steps"
            )

    def check_unconditional(self, argument: str = "run") -> None:
        """ValueError where the network never learned without its condition, as samples and twins need it."""
        if (self.labels or self.super_resolution > 1) and self.condition_dropout == 0:
            raise ValueError(
                f"{argument}: expected a network that also learns without its condition, got condition_dropout 0; name "
                "the condition, or train with --condition-dropout 0.1"
            )

    def check_condition(self, label: bool, image: bool) -> None:
        """ValueError where samples are conditioned on one of label and image, of a network that learned with both.

        In training both were hidden together, so the network knows both or neither. label, image: whether given.
        """
        learned = {"label": self.labels, "sharpen": self.super_resolution > 1}
        given = [name for name, is_given in {"label": label, "sharpen": image}.items() if is_given]
        if not given:
            self.check_unconditional()
        elif missing := [name for name, is_learned in learned.items() if is_learned and name not in given]:
            raise ValueError(
                f"{missing[0]}: expected one beside {given[0]}, as the run learned with both, or neither, got none; "
                f"add --{missing[0]}"
            )

    @property
    def data_scale(self) -> float:
        """sigma_data where it is known; ValueError where it is still to be measured."""
        if self.sigma_data is None:
            raise ValueError("sigma_data: expected a number, got None; set --sigma-data, or measure it on the data")
        return self.sigma_data

    def to_json(self) -> dict[str, Any]:
        """The fields as a dictionary that JSON can hold."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "Config":
        """Rebuild a Config; ValueError where `saved` has fields that this version does not know."""
        unknown = sorted(set(saved) - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise ValueError(
                f"config: expected settings that this version knows, got {', '.join(unknown)}, of a newer version; "
                "install that one to open the run"
            )
        fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in saved.items()}
        return cls(**fields)


def differences(saved: Config, wanted: Config) -> list[str]:
    """Lines "field: saved -> wanted", one for each field that may not change on an existing run.

    A learning rate that falls as a cosine knows its last step, so there the steps may not change either.
    """
    free = CADENCE - {"steps"} if saved.decay == "cosine" else CADENCE
    free = free | {"sigma_data"} if wanted.sigma_data is None else free  # it was measured when the run began
    return [
        f"{field.name}: {getattr(saved, field.name)} -> {getattr(wanted, field.name)}"
        for field in dataclasses.fields(Config)
        if field.name not in free and getattr(saved, field.name) != getattr(wanted, field.name)
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
_FRACTION: _Rule = ("a number in [0, 1)", lambda v: _is_real(v) and 0 <= v < 1)
_BOOL: _Rule = ("True or False", lambda v: isinstance(v, bool))


def _one_of(*names: str) -> _Rule:
    return "one of " + ", ".join(names), lambda v: isinstance(v, str) and v in names


_RULES: dict[str, _Rule] = {
    "data": ("the name of a data set", lambda v: isinstance(v, str) and v != ""),
    "data_dir": ("a folder, or None", lambda v: v is None or isinstance(v, str)),
    "image_size": ("an integer of at least 1, or None", lambda v: v is None or (_is_int(v) and v >= 1)),
    "held_out": ("a number in (0, 1), to judge the run by", lambda v: _is_real(v) and 0 < v < 1),
    "flip": _BOOL,
    "data_on": _one_of("auto", "device", "host"),
    "accept_data": _BOOL,
    "labels": _BOOL,
    "condition_dropout": _FRACTION,
    "super_resolution": _POSITIVE_INT,
    "network": _one_of("auto", "unet", "dit", "mlp"),
    "channels": _POSITIVE_INT,
    "channel_mult": ("a tuple of at least one positive integer", lambda v: _is_tuple(v) and len(v) > 0),
    "blocks": _POSITIVE_INT,
    "attention": ("a tuple of positive integers, or ()", _is_tuple),
    "groups": _POSITIVE_INT,
    "patch": _POSITIVE_INT,
    "dropout": _FRACTION,
    "time_embedding": _one_of("sinusoidal", "fourier"),
    "dtype": _one_of("float32", "bfloat16"),
    "remat": _BOOL,
    "objective": _one_of("edm", "noise", "x0", "v", "flow", "score"),
    "weighting": _one_of("output", "x0", "noise", "v", "edm", "min-snr", "likelihood"),
    "min_snr": _POSITIVE,
    "uncertainty": _BOOL,
    "schedule": _one_of("exploding", "preserving", "cosine", "sub-vp", "flow", "betas"),
    "schedule_parameters": (
        "a tuple of finite numbers, or ()",
        lambda v: isinstance(v, tuple) and all(_is_real(p) for p in v),
    ),
    "levels": _one_of("log-normal", "uniform-time", "uniform-log-snr"),
    "level_mean": ("a finite number", _is_real),
    "level_std": _POSITIVE,
    "sigma_min": _POSITIVE,
    "sigma_max": _POSITIVE,
    "stratified": _BOOL,
    "sigma_data": ("a finite number above 0, or None to measure it", lambda v: v is None or (_is_real(v) and v > 0)),
    "batch": _POSITIVE_INT,
    "accumulate": _COUNT,
    "steps": _COUNT,
    "learning_rate": _POSITIVE,
    "warmup": _COUNT,
    "hold": _COUNT,
    "decay": _one_of("root", "cosine", "constant"),
    "clip": _POSITIVE,
    "weight_decay": _NOT_NEGATIVE,
    "ema_half_lives": (
        "a tuple of at least one number above 0, in images",
        lambda v: isinstance(v, tuple) and len(v) > 0 and all(_is_real(h) and h > 0 for h in v),
    ),
    "seed": ("an integer in [0, 2**32)", lambda v: _is_int(v) and 0 <= v < 2**32),
    "sharding": _one_of("replicated", "full"),
    "checkpoint_every": _POSITIVE_INT,
    "keep_last": _POSITIVE_INT,
    "keep_every": _COUNT,
    "keep_powers": _BOOL,
    "log_every": _POSITIVE_INT,
    "evaluate_every": _POSITIVE_INT,
    "sample_every": _COUNT,
    "explain": _BOOL,
}


def check(name: str, value: object) -> None:
    """ValueError where `value` is none for the field `name`."""
    expected, holds = _RULES[name]
    if not holds(value):
        raise ValueError(f"{name}: expected {expected}, got {value!r}; set --{name.replace('_', '-')} to such a value")
