"""Several runs, or checkpoints of one, side by side."""

__all__ = ["page", "runs", "verdicts"]
