"""Guidance: two denoisers as one, which goes further in the direction in which the first differs from the second.

    D = base + weight (model - base)

The score is then that of p_model^weight p_base^(1 - weight) at every level on its own. No law has these scores at all
levels together, so samples of it are not samples of such a product.
"""

from jaxtyping import Array, Float

from gaussdiff.denoiser import Denoiser, Event, check_model, check_sample
from gaussdiff.numerics.checks import check_finite_number
from gaussdiff.schedules import NoiseLevel


class Guided(Denoiser):
    """Classifier-free guidance, where base is the unconditional denoiser; autoguidance, where it is a weaker one.

    denoise(x, level) = base + weight (model - base): weight 1 is the model, 0 the base, more than 1 sharpens. Both are
    asked at every level, so that a call costs two. TypeError unless both are Denoisers, ValueError for a weight that
    is not finite. Ho & Salimans, arXiv 2207.12598, eq. 6, whose w is weight - 1; Karras et al., arXiv 2406.02507.
    """

    model: Denoiser
    base: Denoiser
    weight: Float[Array, ""]

    def __init__(self, model: Denoiser, base: Denoiser, weight):
        check_model(model)
        check_model(base, "base")
        self.model, self.base = model, base
        self.weight = check_finite_number(weight, "weight", "1 is the model alone.")

    def denoise(self, x: Event, level: NoiseLevel) -> Event:
        x = check_sample(x)
        base = self.base.denoise(x, level)
        return (base + self.weight * (self.model.denoise(x, level) - base)).astype(x.dtype)
