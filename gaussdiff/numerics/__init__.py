"""Arrays, checks, kinds of arguments, eigenvalues, k-means, softmax and Adam: mathematics that knows no diffusion."""

__all__ = ["adam", "arrays", "checks", "eigen", "kinds", "kmeans", "softmax"]
