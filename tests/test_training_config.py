"""Settings: every bad value is named with its cure; presets; what may change on an existing run."""

import dataclasses

import pytest

from training.config import CADENCE, PRESETS, Config, differences, preset

BAD = [
    ("data", ""),
    ("data_dir", 3),
    ("held_out", 0.0),
    ("held_out", 1.0),
    ("labels", 1),
    ("label_dropout", 1.0),
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
    ("ema_decay", 1.0),
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


def test_only_the_cadence_may_change():
    saved = Config()
    assert differences(saved, dataclasses.replace(saved, steps=9, checkpoint_every=3, log_every=1, data_dir="d")) == []
    changed = dataclasses.replace(saved, channels=64, seed=1)
    assert differences(saved, changed) == ["channels: 32 -> 64", "seed: 0 -> 1"]
    assert {field.name for field in dataclasses.fields(Config)} >= CADENCE
