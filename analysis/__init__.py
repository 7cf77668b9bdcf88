"""Trained denoisers beside their closed-form twins: fit, compare, draw, report. Run `python -m analysis --help`."""

__all__ = ["comparison", "experiments", "harness", "measures", "reporting", "solvers"]
