"""Trained denoisers beside their closed-form twins: fit, compare, draw, report. Run `python -m analysis --help`."""
