"""How good a run is: errors by level, likelihoods, samples, and what closed-form twins explain."""

__all__ = ["errors", "evaluate", "explain", "features", "likelihoods", "samples"]
