"""Runs on disk: checkpoints that are whole or absent, shards of several hosts, locks, exported weights."""

__all__ = ["checkpoint", "disk", "lock", "shards", "weights"]
