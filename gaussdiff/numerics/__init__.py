"""Arrays, checks, eigenvalues, k-means, softmax and Adam: mathematics that knows no diffusion."""

__all__ = ["adam", "arrays", "checks", "eigen", "kmeans", "softmax"]
