"""The packages of the three programs, in reading order: each imports only from itself and from those before it."""

# A name stands for a module or for a package with all its modules; `tests/test_package.py` holds the order,
# `tools/api.py` writes docs/api.md and the map in CONTRIBUTING.md from it.
PACKAGES = (
    "gaussdiff.progress",
    "gaussdiff.numerics",
    "gaussdiff.schedules",
    "gaussdiff.conversions",
    "gaussdiff.denoiser",
    "gaussdiff.losses",
    "gaussdiff.trajectory",
    "gaussdiff.grids",
    "gaussdiff.distributions",
    "gaussdiff.denoisers",
    "gaussdiff.fitting",
    "gaussdiff.exact",
    "gaussdiff.samplers",
    "gaussdiff.integrate",
    "gaussdiff.design",
    "gaussdiff.metrics",
    "gaussdiff.files",
    "gaussdiff",
    "training.config",
    "training.presets",
    "training.interrupts",
    "training.devices",
    "training.objective",
    "training.networks",
    "training.storage",
    "training.data",
    "training.microbatch",
    "training.optimizer",
    "training.step",
    "training.sampling",
    "training.evaluation",
    "training.runs",
    "training.page",
    "training.start",
    "training.loop",
    "training",
    "training.commands",
    "training.__main__",
    "analysis.measures",
    "analysis.harness",
    "analysis.experiments",
    "analysis.reporting",
    "analysis.solvers",
    "analysis.comparison",
    "analysis",
    "analysis.__main__",
)


def package_of(module: str) -> str:
    """The one of PACKAGES that a dotted name belongs to, or "" for none; a program's own name is its __init__ alone."""
    package = ".".join(module.split(".")[:2])
    return package if package in PACKAGES else ""
