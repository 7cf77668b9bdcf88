"""Which solver for a data set or a run: tables of exact errors, recipes, fewest calls."""

__all__ = ["accelerate", "candidates", "figure", "least_w2", "recipe", "table"]
