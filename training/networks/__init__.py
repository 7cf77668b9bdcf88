"""The networks, their weights as plain data, and a trained network as a Denoiser."""

__all__ = ["blocks", "build", "condition", "denoiser", "dit", "mlp", "params", "unet"]
