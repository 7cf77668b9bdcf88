# %% [markdown]
# # One Gaussian: a diffusion model with nothing hidden
#
# <!-- address:badge -->
# Open in Colab: not yet, the repository has no public address. It runs from a clone.
# <!-- /address -->
#
# A diffusion model answers one question: *given a noisy x, what clean x0 do you expect?* For Gaussian data the answer
# is a formula, and so is the whole path from noise to data. This notebook draws both, measures a numerical sampler
# against the formula, and shows why such models draw the outline first and the details later. It took 20 s on two CPU
# cores, most of it compiling, and 49 s while they did other work too.

# %%
import importlib.util
import os

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # before jax: leave memory to others

# address:install
if importlib.util.find_spec("gaussdiff") is None:
    raise ModuleNotFoundError("gaussdiff has no public address yet: clone it and run `pip install -e .` in its folder")
# /address

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import gaussdiff as gd

QUICK = bool(os.environ.get("GAUSSDIFF_QUICK"))  # fewer points and steps; the tests run it so
plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False, "font.size": 11}
print(f"gaussdiff {gd.__version__}, jax {jax.__version__} on {jax.default_backend()}")

# %% [markdown]
# ## 1. Denoiser and score
#
# A noisy sample is `x = alpha * x0 + sigma * noise`. Our clean data are a tilted Gaussian in the plane, and alpha = 1.
# The best guess of x0 pulls x toward the mean, **along each axis of the ellipse by its own factor**
# `lam / (lam + sigma**2)`, where lam is the variance along that axis: the Wiener filter. A narrow axis is given up
# to the noise first.

# %%
mean = jnp.array([1.0, 0.5])
tilt = jnp.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
plane = gd.Gaussian.from_moments(mean, tilt @ jnp.diag(jnp.array([4.0, 0.25])) @ tilt.T)

level = gd.NoiseLevel(1.0, 1.0)
x = jnp.array([3.0, -2.0])
print("denoised:", plane.denoise(x, level))
print("score   :", gd.score(plane, x, level))
print("the same, as the gradient of log p:", jax.grad(plane.log_prob)(x, level))


# %%
def ellipse(gaussian, sigma, radius=2.0):
    """Points at `radius` standard deviations of the noisy law."""
    angle = np.linspace(0, 2 * np.pi, 200)
    circle = np.stack([np.cos(angle), np.sin(angle)]) * radius
    std = np.sqrt(np.asarray(gaussian.eigvals) + sigma**2)
    return np.asarray(gaussian.mean)[:, None] + np.asarray(gaussian.eigvecs) @ (std[:, None] * circle)


fig, axes = plt.subplots(1, 3, figsize=(13, 4.4), sharex=True, sharey=True)
for axis, sigma in zip(axes, (0.3, 1.0, 3.0), strict=True):
    level = gd.NoiseLevel(1.0, sigma)
    keys = jax.random.split(jax.random.key(1), 40)
    noisy = jax.vmap(lambda key, level=level: gd.add_noise(key, plane.sample(key), level))(keys)
    guess = jax.vmap(plane.denoise, in_axes=(0, None))(noisy, level)
    axis.plot(*ellipse(plane, 0.0), color="C0", label="clean data, 2 std")
    axis.plot(*ellipse(plane, sigma), color="0.6", ls="--", label="noisy data, 2 std")
    axis.plot(*np.stack([noisy, guess], 1).T, color="0.8", lw=1, zorder=0)
    axis.plot(*noisy.T, "o", ms=4, color="0.5", label="noisy x")
    axis.plot(*guess.T, "o", ms=4, color="C3", label="denoised: E[x0 | x]")
    axis.set(title=f"sigma = {sigma}", aspect="equal", xlim=(-9, 12), ylim=(-9, 10))
axes[0].legend(loc="upper left", fontsize=9, frameon=False)
fig.suptitle("The more noise, the closer the guess stays to the mean, the short axis first")
plt.show()

# %% [markdown]
# ## 2. The exact path, and a sampler's error
#
# Sampling follows an ODE from pure noise to data. For a Gaussian its solution is known: along each axis the distance
# from the mean shrinks by the ratio of the standard deviations, `sqrt(lam + sigma_new**2) / sqrt(lam + sigma_old**2)`.
# `gd.gaussian_flow` is that formula; `gd.sample` takes steps as for any network.

# %%
start = gd.NoiseLevel(1.0, 80.0)
noise = gd.sample_prior(jax.random.key(2), (64, 2), start)
exact_end = jax.vmap(gd.gaussian_flow, in_axes=(None, 0, None, None))(plane, noise, start, gd.NoiseLevel(1.0, 0.0))


def error(sampler, n):
    """Root mean square distance of 64 endpoints from the exact ones."""
    paths = jax.vmap(gd.sample, in_axes=(None, None, 0, None))(sampler, plane, noise, gd.grids.karras(n))
    return float(jnp.sqrt(jnp.mean(jnp.sum((paths.x[:, -1] - exact_end) ** 2, -1))))


steps = [4, 8, 16, 32] if QUICK else [4, 8, 16, 32, 64, 128]
samplers = {"Euler": gd.Euler(), "DPM-Solver++(2M)": gd.DPMSolverPP2M(), "Heun": gd.Heun()}
errors = {name: [error(sampler, n) for n in steps] for name, sampler in samplers.items()}
print(f"{'model calls':>18}: error")
for name, sampler in samplers.items():
    print(f"{name:>18}:", "  ".join(f"{sampler.nfe(n)}: {e:.4f}" for n, e in zip(steps, errors[name], strict=True)))

# %%
fig, (left, right) = plt.subplots(1, 2, figsize=(13, 4.6))
fine = gd.grids.uniform_log_snr(100, sigma_min=0.01)
for i in range(6):
    curve = jax.vmap(gd.gaussian_flow, in_axes=(None, None, None, 0))(plane, noise[i], start, fine)
    euler = gd.sample(gd.Euler(), plane, noise[i], gd.grids.karras(8)).x
    left.plot(*curve.T, color="C0", lw=1.5, label="exact path" if i == 0 else None)
    left.plot(*euler.T, ".--", color="C1", lw=1, label="Euler, 8 steps" if i == 0 else None)
    left.plot(*curve[-1], "o", color="C0", ms=5, label="exact end" if i == 0 else None)
    left.plot(*euler[-1], "s", color="C1", ms=5, label="Euler's end" if i == 0 else None)
left.plot(*ellipse(plane, 0.0), color="0.7", lw=1, zorder=0)
left.set(xlim=(-5, 7), ylim=(-4, 5), aspect="equal", title="The last part of six paths")
left.legend(loc="upper left", fontsize=9, frameon=False)
for (name, sampler), color in zip(samplers.items(), ("C1", "C2", "C3"), strict=True):
    right.loglog([sampler.nfe(n) for n in steps], errors[name], "o-", color=color, label=name)
right.set(xlabel="model calls", ylabel="error of the end, data units", title="Error against cost")
right.legend(frameon=False)
plt.show()

# %% [markdown]
# ## 3. Outline first, details later
#
# Now 16 x 16 pictures: a Gaussian whose neighbouring pixels agree, so that slow waves have much variance and fast waves
# little, as in photographs. Each wave (each eigenvector) has reached the fraction `sqrt(lam / (lam + sigma**2))` of
# its final strength in the denoised picture. **Large variance is decided while there is still much noise.**

# %%
SIDE = 16
wave = np.fft.fftfreq(SIDE, 1 / SIDE)
power = 1 / (1 + (wave[:, None] ** 2 + wave[None] ** 2)) ** 2  # variance of each wave, falling with its frequency
power *= SIDE**2 / power.sum()  # so that every pixel has variance 1
row = np.fft.ifft2(power).real  # covariance of the first pixel with every pixel
offset = (np.arange(SIDE)[:, None] - np.arange(SIDE)) % SIDE
cov = row[offset[:, None, :, None], offset[None, :, None, :]].reshape(SIDE**2, SIDE**2)
pictures = gd.Gaussian.from_moments(jnp.zeros((SIDE, SIDE)), cov)

first = gd.sample_prior(jax.random.key(7), (SIDE, SIDE), start)
shown = gd.NoiseLevel(1.0, jnp.array([80.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.0]))
path = jax.vmap(gd.gaussian_flow, in_axes=(None, None, None, 0))(pictures, first, start, shown)
guesses = jax.vmap(pictures.denoise)(path, shown)

fig, axes = plt.subplots(2, len(shown), figsize=(13, 3.7))
for i, sigma in enumerate(np.asarray(shown.sigma)):
    axes[0, i].imshow(path[i], cmap="gray", vmin=-2.5 * np.hypot(1, sigma), vmax=2.5 * np.hypot(1, sigma))
    axes[1, i].imshow(guesses[i], cmap="gray", vmin=-2.5, vmax=2.5)
    axes[0, i].set_title(f"sigma {sigma:g}")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("x")
axes[1, 0].set_ylabel("denoised x")
fig.suptitle("One path, from noise (left) to data (right)", y=1.03)
plt.show()

# %%
sigmas = gd.NoiseLevel(1.0, jnp.geomspace(0.02, 40, 200))
fig, axis = plt.subplots(figsize=(8.5, 4.2))
modes = ((0, "brightness as a whole", "C0"), (12, "mode 13, slow waves", "C2"), (255, "mode 256, fast waves", "C3"))
for k, name, color in modes:
    lam = pictures.eigvals[k]
    fraction = jax.vmap(gd.commitment, in_axes=(None, 0))(lam, sigmas)
    axis.semilogx(sigmas.sigma, fraction, color=color, label=f"{name}\nvariance lam = {lam:.2g}")
    axis.plot(gd.emergence(lam), 0.5, "o", color=color)
axis.invert_xaxis()
axis.set(xlabel="sigma: noise to data", ylabel="fraction of its final strength", ylim=(0, 1.02))
axis.set_title("Slow waves are decided first; dots: half of the way, sigma = sqrt(3 lam)")
axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), labelspacing=1.2)
plt.show()
halfway = gd.emergence(pictures.eigvals[jnp.array([0, 12, 255])])
print("sigma at half of the way:", "  ".join(f"{sigma:.3g}" for sigma in halfway))

# %% [markdown]
# ## 4. Push the path early, or late
#
# Add the same extra noise, half as strong as the noise that is there, at four moments, and go on to the end. Along a
# wave the push survives as `sqrt(lam) / sqrt(lam + sigma**2)` of itself, so an early one moves the outline and a late
# one only what was still open.

# %%
push = jax.random.normal(jax.random.key(11), (SIDE, SIDE))
moments = gd.NoiseLevel(1.0, jnp.array([20.0, 2.0, 0.5, 0.1]))
clean = gd.NoiseLevel(1.0, 0.0)


def pushed(level):
    x = gd.gaussian_flow(pictures, first, start, level) + 0.5 * level.sigma * push
    return gd.gaussian_flow(pictures, x, level, clean)


end = gd.gaussian_flow(pictures, first, start, clean)
ends = jax.vmap(pushed)(moments)
fig, axes = plt.subplots(2, 5, figsize=(11, 4.8))
for axis, picture in zip(axes[0], [end, *ends], strict=True):
    axis.imshow(picture, cmap="gray", vmin=-2.5, vmax=2.5)
changes = ends - end
for axis, change in zip(axes[1, 1:], changes, strict=True):
    largest = jnp.max(jnp.abs(change))
    axis.imshow(change, cmap="RdBu", vmin=-largest, vmax=largest)
    axis.set_xlabel(f"size {jnp.sqrt(jnp.mean(change**2)):.2f}")
for i, sigma in enumerate(np.asarray(moments.sigma)):
    axes[0, i + 1].set_title(f"at sigma {sigma:g}")
for axis in axes.flat:
    axis.set(xticks=[], yticks=[])
axes[0, 0].set(title="no push", ylabel="end of the path")
axes[1, 0].axis("off")
axes[1, 1].set_ylabel("change, each in\nits own colours")
fig.suptitle("Pushed early, the outline changes; pushed late, the grain")
plt.show()

# %% [markdown]
# ## What to take along
#
# - One function, `denoise(x, level)`, is the whole model; score, paths and samplers follow from it.
# - For a Gaussian every answer is exact, so a sampler's error can be *measured*: more model calls, or a better method.
# - The order "outline, then details" is not learned by a network. It follows from the variances of the data.
