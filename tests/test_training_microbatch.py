"""In how many parts a batch is computed: what was asked for, or what a CPU's cache holds, shared evenly by devices."""

import jax
import pytest

from training import Config, microbatch

PLAIN = Config(data="folder", attention=(), channel_mult=(1, 2, 2))


@pytest.mark.parametrize(
    ("changes", "shape", "devices", "expected"),
    [
        ({}, (8, 8, 1), 1, 3),  # 96 images of 8 x 8 x 32 numbers, 32 of which fill the cache
        ({"channels": 64}, (8, 8, 1), 1, 6),
        ({"batch": 32}, (32, 32, 3), 1, 16),
        ({"batch": 32, "channels": 256}, (64, 64, 3), 1, 16),  # two images are too large
        ({"batch": 14}, (16, 16, 1), 1, 2),  # 8 images fit
        ({"batch": 17}, (16, 16, 1), 1, 1),  # rather 17 than 1
        ({"batch": 3}, (64, 64, 1), 1, 1),
        ({"batch": 25, "channels": 256}, (64, 64, 3), 1, 5),  # rather 5 than 1
        ({"batch": 32}, (32, 32, 3), 2, 8),  # half of a part on each
        ({"batch": 32}, (32, 32, 3), 32, 1),
        ({"batch": 32, "network": "dit"}, (32, 32, 3), 1, 1),
        ({"batch": 4096}, (64,), 1, 2),
        ({"batch": 512}, (64,), 1, 1),
        ({"batch": 32, "accumulate": 4}, (32, 32, 3), 1, 4),
        ({"batch": 32, "accumulate": 1}, (32, 32, 3), 2, 1),
    ],
)
def test_parts_are_near_what_a_cache_holds_and_devices_share_them_evenly(
    monkeypatch, changes, shape, devices, expected
):
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert microbatch.count(Config(**{**vars(PLAIN), **changes}), shape) == expected
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert microbatch.count(Config(**{**vars(PLAIN), **changes}), shape) == changes.get("accumulate", 1)


@pytest.mark.parametrize("accumulate", [0, 1, 3])
def test_a_part_that_cannot_be_shared_out_is_named(monkeypatch, accumulate):
    monkeypatch.setattr(jax, "device_count", lambda: 5)
    with pytest.raises(
        ValueError, match=r"^batch: expected a multiple of the 5 devices .* set --batch to (\d+)"
    ) as said:
        microbatch.count(Config(accumulate=accumulate), (8, 8, 1))
    cure = int(str(said.value).split()[-1])
    assert microbatch.count(Config(accumulate=accumulate, batch=cure), (2,)) == max(1, accumulate)
