"""Settings: every bad value is named with its cure; presets; what may change on an existing run."""

import dataclasses
import warnings

import pytest

from training.config import CADENCE, Config, differences
from training.presets import PRESETS, preset
from training.step import Trainer

BAD = [
    ("data", ""),
    ("data_dir", 3),
    ("held_out", 0.0),
    ("held_out", 1.0),
    ("labels", 1),
    ("condition_dropout", 1.0),
    ("channels", 0),
    ("channels", 8.0),
    ("channel_mult", ()),
    ("channel_mult", (1, 0)),
    ("channel_mult", [1, 2]),
    ("blocks", 0),
    ("attention", (0,)),
    ("groups", -1),
    ("sigma_data", 0.0),
    ("sigma_data", float("nan")),
    ("level_mean", float("inf")),
    ("level_std", 0.0),
    ("batch", 0),
    ("batch", True),
    ("steps", -1),
    ("learning_rate", 0.0),
    ("learning_rate", "fast"),
    ("warmup", -1),
    ("hold", -1),
    ("clip", 0.0),
    ("weight_decay", -0.1),
    ("ema_half_lives", ()),
    ("ema_half_lives", (0.0,)),
    ("image_size", 0),
    ("flip", 1),
    ("data_on", "disk"),
    ("super_resolution", 0),
    ("network", "resnet"),
    ("patch", 0),
    ("dropout", 1.0),
    ("time_embedding", "learned"),
    ("dtype", "float16"),
    ("accept_data", 1),
    ("remat", 0),
    ("objective", "epsilon"),
    ("weighting", "snr"),
    ("min_snr", 0.0),
    ("uncertainty", "yes"),
    ("schedule", "linear"),
    ("schedule_parameters", (float("inf"),)),
    ("schedule_parameters", [0.1]),
    ("levels", "uniform"),
    ("sigma_min", 0.0),
    ("sigma_max", float("inf")),
    ("stratified", 1),
    ("accumulate", -1),
    ("decay", "linear"),
    ("sharding", "fsdp"),
    ("keep_last", 0),
    ("keep_every", -1),
    ("keep_powers", 1),
    ("sample_every", -1),
    ("explain", 1),
    ("seed", -1),
    ("seed", 2**32),
    ("checkpoint_every", 0),
    ("log_every", 0),
    ("evaluate_every", 0),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_bad_value_is_named_with_its_cure(name, value):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got .*--{name.replace('_', '-')}"):
        Config(**{name: value})


def test_the_table_of_bad_values_covers_every_field():
    assert {name for name, _ in BAD} == {field.name for field in dataclasses.fields(Config)}


@pytest.mark.parametrize("data", ["digits", "toy-ring", "svhn_cropped", *sorted(set(PRESETS) - {"toy-"})])
def test_every_preset_is_valid_and_names_its_data(data):
    assert preset(data).data == data


def test_a_folder_takes_the_preset_of_its_last_name():
    assert preset("/data/celeba64/") == dataclasses.replace(preset("celeba64"), data="/data/celeba64/")
    assert preset("/data/celeba64").image_size == 64
    assert preset("/data/digits") == Config(data="/data/digits", sigma_data=None, attention=())
    assert preset("toy-points.npy") == Config(data="toy-points.npy", sigma_data=None, attention=())
    assert preset("/data/mine") == Config(data="/data/mine", sigma_data=None, attention=())


def test_settings_that_exclude_each_other_are_named():
    with pytest.raises(ValueError, match=r"^accumulate: expected a divisor of the batch, got 5 for 96 images"):
        Config(accumulate=5)
    with pytest.raises(ValueError, match=r"^hold: expected warmup \+ hold below the steps, .* got 100 \+ 600 of 700"):
        Config(decay="cosine", steps=700)
    with pytest.raises(ValueError, match=r"^run: expected a network that also learns without its condition"):
        Config(labels=True, condition_dropout=0.0).check_unconditional()
    with pytest.raises(ValueError, match=r"^schedule_parameters: expected none with levels 'log-normal'"):
        Config(schedule="cosine", schedule_parameters=(0.1,))
    with pytest.raises(ValueError, match=r"^sigma_min: expected less than sigma_max"):
        Config(sigma_min=2.0, sigma_max=1.0)


def test_a_schedule_that_changes_nothing_is_told():
    with pytest.warns(UserWarning, match=r"^schedule: 'flow' changes nothing with levels 'log-normal'.*uniform-time"):
        Trainer.create(Config(data="toy-ring", schedule="flow"), (2,), None)
    with warnings.catch_warnings(action="error"):
        Trainer.create(Config(data="toy-ring", schedule="flow", levels="uniform-time"), (2,), None)


def test_a_cosine_fixes_the_last_step_and_a_measured_scale_may_stay_unsaid():
    saved = Config(decay="cosine", sigma_data=0.6)
    assert differences(saved, dataclasses.replace(saved, steps=900)) == ["steps: 1000 -> 900"]
    assert differences(saved, dataclasses.replace(saved, sigma_data=None)) == []


def test_only_the_cadence_may_change():
    saved = Config()
    assert differences(saved, dataclasses.replace(saved, steps=9, checkpoint_every=3, log_every=1, data_dir="d")) == []
    assert differences(dataclasses.replace(saved, accumulate=1), saved) == []  # what the default was
    changed = dataclasses.replace(saved, channels=64, seed=1)
    assert differences(saved, changed) == ["channels: 32 -> 64", "seed: 0 -> 1"]
    assert {field.name for field in dataclasses.fields(Config)} >= CADENCE
