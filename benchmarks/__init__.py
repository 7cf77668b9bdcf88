"""Timings of the engine and the training loop, each beside a peer or a limit measured in the same run."""
