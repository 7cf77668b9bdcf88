"""How uncertain x0 is, given x: the covariance of the posterior as an operator, for any denoiser.

    Cov[x0 | x] = (sigma^2 / alpha) dD/dx,    D(x) = E[x0 | x]

holds for every law of x0 (differentiate Tweedie's formula). So a product with the covariance is one forward derivative
of the denoiser: no D x D matrix, no formula of the law. A network has a Jacobian that is only nearly symmetric.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gaussdiff.denoiser import Denoiser, Event, check_event, check_model, check_sample
from gaussdiff.numerics.arrays import concrete, dot
from gaussdiff.numerics.checks import check_chunk, check_count, check_key
from gaussdiff.schedules import NoiseLevel, check_level


class PosteriorCovariance(eqx.Module):
    """Cov[x0 | x] as an operator on one sample's shape, in squared data units. Make it with posterior_covariance."""

    model: Denoiser
    x: Float[Array, "*event"]
    level: NoiseLevel

    def matvec(self, v) -> Event:
        """(sigma^2 / alpha) (dD/dx) v for v (*event): one forward derivative. ValueError for any other shape."""
        v = check_sample(v, self.x.shape, "v").astype(self.x.dtype)
        _, moved = jax.jvp(self._denoise, (self.x,), (v,))
        return (self._scale() * moved).astype(self.x.dtype)

    def trace(self, chunk: int = 64) -> Float[Array, ""]:
        """The total posterior variance, sum_i Var[x0_i | x], by D derivatives, `chunk` at a time.

        ValueError for a chunk below 1.
        """
        check_chunk(chunk, usual=64)
        size = self.x.size

        def diagonal(i: Array) -> Array:
            return self._flat(jax.nn.one_hot(i, size, dtype=self.x.dtype))[i]

        return jnp.sum(jax.lax.map(diagonal, jnp.arange(size), batch_size=min(chunk, size)))

    def estimate_trace(self, key: PRNGKeyArray, probes: int = 32) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The trace from random signs v, as mean and standard error of v . Cov v over the probes.

        One derivative a probe, however large D. Unbiased; exact where the covariance is diagonal. ValueError for fewer
        than 2 probes. Hutchinson 1990.
        """
        check_count(probes, "probes", "One has no standard error.", least=2)
        check_key(key)
        signs = jax.random.rademacher(key, (probes, self.x.size), self.x.dtype)
        estimates = jax.vmap(lambda v: jnp.sum(v * self._flat(v)))(signs)
        return jnp.mean(estimates), jnp.std(estimates, ddof=1) / jnp.sqrt(probes)

    def top(
        self, k: int, key: PRNGKeyArray, *, tolerance: float | None = None, restarts: int = 50
    ) -> tuple[Float[Array, " k"], Float[Array, "k *event"]]:
        """The k largest variances, decreasing, and their directions (k, *event), of unit length.

        Block Krylov with restarts from a random start, on the symmetric part (J + J^T) / 2, which is J itself for an
        exact denoiser; small D by all its columns. Ends where every residual |Cov v - lam v| is below tolerance times
        the largest variance; sqrt(eps) of the dtype by default, an error of about eps in the variances. Where variances
        coincide the directions are any basis of theirs.

        ValueError unless 1 <= k <= D; RuntimeError where `restarts` rounds do not get there, with the residual reached.
        Golub & Underwood 1977; Musco & Musco, arXiv 1504.05477, algorithm 2.
        """
        size = self.x.size
        check_key(key)
        check_count(k, "k", "There are no more directions than entries.", most=size, symbol="D")
        allowed = float(jnp.finfo(self.x.dtype).eps) ** 0.5 if tolerance is None else tolerance
        values, vectors, residual = _top(self, k, key, allowed, restarts)
        if concrete(residual) and not float(residual) <= allowed:
            raise RuntimeError(
                f"top: a residual of {float(residual):.2g} of the largest variance after {restarts} restarts, "
                f"above {allowed:.2g}. Raise tolerance or restarts, or check that the model is finite at x."
            )
        if not concrete(residual):
            values = eqx.error_if(
                values, ~(residual <= allowed), "top: not converged. Raise tolerance or restarts, or check the model."
            )
        return values, vectors.reshape(k, *self.x.shape)

    def dense(self) -> Float[Array, "D D"]:
        """All entries (D, D), by D derivatives; for small D."""
        return jax.vmap(self._flat)(jnp.eye(self.x.size, dtype=self.x.dtype)).T

    def _denoise(self, x: Event) -> Event:
        with jax.default_matmul_precision("highest"):
            return self.model.denoise(x, self.level)

    def _scale(self) -> Array:
        return self.level.sigma * (self.level.sigma / self.level.alpha)

    def _flat(self, v: Float[Array, " D"]) -> Float[Array, " D"]:
        return self.matvec(v.reshape(self.x.shape)).reshape(-1)

    def _symmetric(self, rows: Float[Array, "b D"]) -> Float[Array, "b D"]:
        """(C + C^T) / 2 applied to each row."""
        _, pull = jax.vjp(self._denoise, self.x)

        def both(v: Array) -> Array:
            (back,) = pull(v.reshape(self.x.shape))
            return (self._flat(v) + self._scale().astype(v.dtype) * back.reshape(-1)) / 2

        return jax.vmap(both)(rows)


def posterior_covariance(model: Denoiser, x, level: NoiseLevel) -> PosteriorCovariance:
    """Cov[x0 | x] = (sigma^2 / alpha) dD/dx at x (*event), as an operator: matvec, trace, top, dense.

    model: any Denoiser whose denoise can be differentiated. 0 at sigma = 0. ValueError at alpha = 0, where x says
    nothing (the covariance is that of the clean law). What a derivative loses to cancellation grows as sigma / alpha
    for laws of several parts: in float32 to some percent at 1e6. Efron 2011, eq. 2.8 (Tweedie's formula); Manor &
    Michaeli, arXiv 2309.13598, theorem 1.
    """
    check_model(model)
    check_level(level)
    x = check_event(model, x)
    message = (
        "level: expected alpha > 0, got alpha = 0, where x says nothing of x0. Use the covariance of the clean law, or "
        "a small alpha."
    )
    if not concrete(level.alpha):
        alpha = eqx.error_if(level.alpha, level.alpha == 0, message)
        return PosteriorCovariance(model, x, eqx.tree_at(lambda lv: lv.alpha, level, alpha))
    if float(level.alpha) == 0:
        raise ValueError(message)
    return PosteriorCovariance(model, x, level)


@eqx.filter_jit
def _top(operator: PosteriorCovariance, k: int, key: PRNGKeyArray, tolerance, restarts: int):
    """Variances (k,), directions (k, D), and the largest residual as a fraction of the largest variance."""
    size, dtype = operator.x.size, operator.x.dtype
    block, depth = k + 4, 4
    if size <= block * (depth + 1):  # by forward derivatives alone, whose transposes are the backward ones
        columns = operator.dense()
        return _ritz((columns + columns.T) / 2, jnp.eye(size, dtype=dtype), k, k)[:3]

    def unfinished(state):
        i, _, residual, _ = state
        # a residual that is not a number ends the search too
        return (i < restarts) & (residual > tolerance)

    def restart(state):
        i, _, _, rows = state
        basis = _krylov(operator, rows, depth)
        values, vectors, residual, rows = _ritz(operator._symmetric(basis), basis, k, block)
        return i + 1, (values, vectors), residual, rows

    start = jnp.linalg.qr(jax.random.normal(key, (size, block), dtype))[0].T
    empty = jnp.zeros(k, dtype), jnp.zeros((k, size), dtype)
    state = jnp.array(0), empty, jnp.array(jnp.inf, dtype), start
    _, (values, vectors), residual, _ = jax.lax.while_loop(unfinished, restart, state)
    return values, vectors, residual


def _krylov(operator: PosteriorCovariance, rows: Float[Array, "b D"], depth: int) -> Float[Array, "m D"]:
    """Orthonormal rows whose span holds the block, and its products with the covariance up to `depth` times."""
    basis = rows
    for _ in range(depth):
        rows = operator._symmetric(rows)
        rows = rows - dot(dot(rows, basis.T), basis)
        rows = jnp.linalg.qr(rows.T)[0].T  # whatever stands in for products that were 0
        basis = jnp.concatenate([basis, rows])
    return jnp.linalg.qr(basis.T)[0].T


def _ritz(products: Float[Array, "m D"], basis: Float[Array, "m D"], k: int, block: int):
    """Rayleigh-Ritz in orthonormal rows, from their products with the symmetric part.

    k variances and directions, the largest residual over the largest variance, and `block` rows to go on from.
    """
    small = dot(basis, products.T)
    values, turn = jnp.linalg.eigh((small + small.T) / 2)
    values, turn = values[::-1], turn[:, ::-1].T
    rows = dot(turn[:block], basis)
    residuals = dot(turn[:k], products) - values[:k, None] * rows[:k]
    largest = jnp.max(jnp.abs(values))
    residual = jnp.max(jnp.linalg.norm(residuals, axis=1))
    residual = jnp.where(residual == 0, 0, residual / jnp.where(largest > 0, largest, 1))
    return values[:k], rows[:k], residual, rows
