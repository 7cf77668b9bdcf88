"""What is minimised: the noise levels of training, and the weighted error at each."""

__all__ = ["levels", "loss"]
