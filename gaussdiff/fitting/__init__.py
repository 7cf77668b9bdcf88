"""Laws fitted to data that do not fit into memory, have few samples, or want a bandwidth."""

from gaussdiff.fitting.bandwidth import choose_bandwidth
from gaussdiff.fitting.em import expectation_maximization
from gaussdiff.fitting.moments import Moments, ledoit_wolf, shrink

__all__ = ["Moments", "choose_bandwidth", "expectation_maximization", "ledoit_wolf", "shrink"]
