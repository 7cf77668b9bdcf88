"""Does the suite see a fault? One line of the mathematics at a time is broken on purpose, in a copy of the repository.

    python -m benchmarks.mutants                          every mutant
    python -m benchmarks.mutants --only DDIM --only Heun  those whose place has the word

A mutant is seen where one of the tests named for it fails, and the very same case passes without a mutant: all of these
run once more at the end. Exit code 1 where a mutant is not seen or does not apply, since the code has changed (mend its
row), or where a test fails without it. Tests marked exhaustive do not count.
"""

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT, PACKAGES = Path(__file__).parents[1], ("gaussdiff", "training", "analysis")
SECONDS = 1800  # after which a test run is stopped
SEEN = "seen by"


class Mutant(NamedTuple):
    """A place (class, function, Class.method or constant), its text, the faulty text, and pytest's -k for the tests."""

    place: str
    old: str
    new: str
    tests: str


ALGORITHM, POSTERIOR_MEAN = "test_the_name_is_the_algorithm", "test_denoise_is_the_posterior_mean"
SECOND_ORDER = "test_second_derivatives_are_those_of_autodiff"

# fmt: off
MUTANTS = [Mutant(*row) for row in (
    # schedules and conversions: an approximation, digits lost in float32, a formula of one frame used in every frame
    ("_linear_beta_time", "(beta_max - beta_min) * c", "beta_max * c", "test_time_at_inverts_the_schedule"),
    ("Cosine.__call__", "jnp.sqrt(jnp.sin(quarter * t) * jnp.sin(quarter * t + 2 * start)) / jnp.cos(start)",
     "jnp.sqrt(1 - alpha**2)", "test_float32_sigma_keeps_its_digits"),
    ("x0_from_v", " / (level.alpha**2 + level.sigma**2)", "", "test_v_round_trips_at_every_level"),
    ("v_weight", "(level.alpha**2 + level.sigma**2) / level.sigma", "1 / level.sigma",
     "test_weights_turn_the_error_of_x0"),
    # Gaussians: the directions outside the modes
    ("Gaussian.spectral_map", "(gains - residual_gain) * coefficients", "gains * coefficients",
     f"{POSTERIOR_MEAN} and gaussian_low_rank"),
    ("Gaussian.log_prob", "self.mean.size - self.rank", "self.mean.size",
     "test_log_prob_is_that_of_the_definition and gaussian_low_rank"),
    ("Gaussian.sample", "safe_sqrt(self.residual)", "self.residual", "test_samples_have_the_mean_and_covariance"),
    # mixtures: weights, determinants, and in float32 the softmax of densities that overflow
    ("GaussianMixture._responsibilities", "self.log_weights - powers / 2", "-powers / 2",
     f"{POSTERIOR_MEAN} and mixture_full"),
    ("GaussianMixture._responsibilities", "exponents - exponents[leading]", "self._log_joint(coordinates, level)",
     "test_answers_are_as_exact_as_the_problem_allows and float32 and mixture_low_rank"),
    ("GaussianMixture._views", "scores - dot(w, scores)[None]", "scores", f"{SECOND_ORDER} and full"),
    ("GaussianMixture._traces", "outside * function(", "function(", f"{SECOND_ORDER} and low_rank"),
    # data sets: the frame, the merge of two chunks, the bound on what is left out
    ("DataSet._denoised", "level.alpha * self.bandwidth**2", "self.bandwidth**2",
     "test_a_posterior_is_the_plain_sum_over_all_points"),
    ("Part._scaled", "scale**2 * self.square", "scale * self.square",
     "test_a_posterior_is_the_plain_sum_over_all_points"),
    ("Truncated.bounded", "/ (2 * width)", "/ width", "test_the_error_stays_below_its_bound"),
    # closed forms along the flow: eta for its square, a limit at alpha = 0, counts of directions, the wrong level
    ("gaussian_transition", "jnp.square(check_eta(eta))", "check_eta(eta)", "test_transition_solves_the_equations"),
    ("_decay", "jnp.where(power > 0, 0.0, 1.0)", "0.0", "test_transition_without_noise_is_the_flow"),
    ("flow_log_det", "rest * residual if rest", "residual if rest", "test_log_likelihood_along_the_flow_is_log_prob"),
    ("_denoised_gain", "commitment(variance, next_level)", "commitment(variance, level)",
     "test_path_is_the_flow_and_the_denoiser"),
    ("rotation_residual", "-2 * signal", "-signal", "test_modes_equal_sixty_digits"),
    ("gaussian_frechet", "(size - width) *", "1 *", "test_kl_and_frechet_equal_sixty_digits"),
    ("_condition", "std / np.sqrt(", "std**2 / (", "test_the_posterior_adds_precisions"),
    ("Observed.posterior", "self.log_weights + self._log_evidences(y)", "self.log_weights",
     "test_a_mixture_s_posterior_is_that_of_importance_sampling"),
    ("PosteriorCovariance._scale", "self.level.sigma * (self.level.sigma / self.level.alpha)", "self.level.sigma**2",
     "test_dense_is_the_covariance_of_the_law_given_x"),
    ("_line_flow", "jnp.where(low, next_z, -next_z)", "next_z", "test_a_gap_between_clusters"),
    ("_tail_flow", "next_widths * z", "widths * z", "test_in_the_far_tail"),
    # learning, fits
    ("OneLayer.log_gain", "- ein(speed * a) + ein(speed * b)", "+ ein(speed * a) - ein(speed * b)",
     "test_generated_variance_is_that_of_the_flow"),
    ("TwoLayers.weight", "self._logistic(level.alpha * lam", "self._logistic(lam", "test_weights_of_two_layers"),
    ("Moments.__add__", "self.count * other.count / count", "other.count**2 / count", "test_moments_do_not_depend_on"),
    ("_updated", ") / size, least", ") / (size - g.rank), least",
     "test_expectation_maximization_never_lowers or test_with_one_component_it_stays_at_the_maximum"),
    # samplers: orders, coefficients, variances
    ("DDIM.step", "(1 - ratio) * (1 + ratio)", "1 - ratio", "test_ddim_with_eta_1_has_the_posterior_of_ddpm"),
    ("Heun.step", "(first + second) / 2", "second", f"{ALGORITHM} and heun"),
    ("extrapolation", "-1 / (2 * r)", "-r / 2", f"{ALGORITHM} and dpmpp_2m"),
    ("extrapolation", "phi3 * d2", "2 * phi3 * d2", "test_the_quadratic_term_of_3m_counts_half"),
    ("DEIS._rule", "jnp.exp(-h * points)", "jnp.exp(h * points)", f"{ALGORITHM} and deis_3"),
    ("UniPC._corrector", "*_measure(h))[1:], 1)", "*_measure(h))[1:], -1)", f"{ALGORITHM} and unipc_3_bh2"),
    ("EVEN_WEIGHTS", "37 / 24", "36 / 24", f"{ALGORITHM} and ipndm_4"),
    ("Ancestral.step", " ** self.v", "", f"{ALGORITHM} and ancestral_half"),
    ("relax", "eta**2", "eta", "test_a_step_of_the_exponential_sde_is_the_exact_transition"),
    ("EDMStochastic.init", "(len(levels) - 1)", "len(levels)", f"{ALGORITHM} and edm"),
    # what is measured of samplers and models
    ("_distance", "(a.mean - b.mean) ** 2", "counts * (a.mean - b.mean) ** 2", "test_the_parts_of_the_error"),
    ("cheapest", "costs + gamma * rest[None]", "gamma * costs + rest[None]", "test_the_cheapest_way"),
    ("_solve", "jnp.log(norms[1] / norms[0])", "jnp.log(norms[0] / norms[1])", "test_probes_are_unbiased_and"),
    ("elbo", "errors[:-1] * jnp.exp(-log_w) / 2", "errors[:-1] / 2", "test_every_part_is_a_divergence"),
    ("frechet_distance", "root @ other @ root", "root @ root @ other", "test_frechet_distance_of_any_covariances"),
    # training
    ("weight", "gd.losses.noise_weight(level) + 1", "gd.losses.noise_weight(level)", "test_each_weight_turns"),
    ("average", "(1 + n) / (10 + n)", "n / (10 + n)", "test_averages_equal_the_weights_at_step_0"),
    ("learning_rate", ", jnp.float32) + 1", ", jnp.float32)", "test_learning_rate_rises"),
    ("update_by", "leaf / trainer.microbatches", "leaf", "test_a_step_in_parts_is_the_step"),
    # analysis
    ("percentiles", ", 1 - tail)", ", 1 - 2 * tail)", "test_the_interval_of_a_mean"),
    ("crossing", "axis[i] + weight", "axis[i + 1] + weight", "test_half_way_and_exponent"),
    ("_most", "change.high <= MARGIN", "change.low <= MARGIN", "test_jumps_by_wrong_covariances_are_named"),
)]
# fmt: on


def definitions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.stmt]]:
    """The name and node of every class, function, method and constant."""
    for node in body:
        if isinstance(node, ast.Assign):
            yield from ((target.id, node) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield prefix + node.name, node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body, f"{node.name}.")


def mutate(mutant: Mutant, root: Path) -> tuple[Path, str]:
    """The file of a mutant and its text with the fault; ValueError unless the old text is there exactly once."""
    matches = []
    for file in (file for package in PACKAGES for file in sorted((root / package).rglob("*.py"))):
        text = file.read_text()
        lines = text.splitlines(keepends=True)
        for name, node in definitions(ast.parse(text).body):
            before, inside = "".join(lines[: node.lineno - 1]), "".join(lines[node.lineno - 1 : node.end_lineno])
            if name == mutant.place and mutant.old in inside:
                after = text[len(before) + len(inside) :]
                matches += [(file, before + inside.replace(mutant.old, mutant.new) + after)] * inside.count(mutant.old)
    if len(matches) != 1:
        raise ValueError(f"{mutant.place}: expected {mutant.old!r} once, got it {len(matches)} times")
    return matches[0]


def run_tests(arguments: list[str], root: Path) -> tuple[bool | None, str]:
    """Whether the tests pass, None where they come to no verdict; and the first that fails, or how it ended."""
    command = [sys.executable, "-m", "pytest", "-x", "--tb=line", "-rf", "-p", "no:cacheprovider", *arguments]
    # what was compiled before is used again, also that of the suite itself
    environment = {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / "jax")} | os.environ
    options = {"cwd": root, "env": environment, "capture_output": True, "text": True, "timeout": SECONDS}
    try:
        done = subprocess.run(command, check=False, **options)
    except subprocess.TimeoutExpired:
        return None, f"not finished after {SECONDS} s"
    failures = re.findall(r"^FAILED (.+?::.+?)(?: - |$)", done.stdout, re.MULTILINE)
    passed = {0: True, 1: False if failures else None}.get(done.returncode)
    return passed, (failures or (done.stdout + done.stderr).strip().splitlines()[-1:] or ["no output"])[0]


def named(expression: str, root: Path) -> list[str]:
    """pytest's arguments for a -k expression: with the files that have its tests, and without exhaustive ones."""
    names = re.findall(r"test_\w+", expression)
    files = [str(file) for file in (root / "tests").glob("test_*.py") if any(n in file.read_text() for n in names)]
    without = ["-m", "not exhaustive"] if "exhaustive:" in (root / "pyproject.toml").read_text() else []
    return [*files, "-k", expression, *without]


def check(mutant: Mutant, root: Path) -> tuple[str, str]:
    """The verdict on a mutant, and the test that sees it or what happened; the copy at root stays as it was."""
    try:
        file, text = mutate(mutant, root)
    except ValueError as error:
        return "DOES NOT APPLY", str(error)
    original = file.read_text()
    file.write_text(text)
    passed, report = run_tests(named(mutant.tests, root), root)
    file.write_text(original)
    return {False: SEEN, True: "NOT SEEN", None: "NO VERDICT"}[passed], report


def copy(target: Path) -> Path:
    """The files that git tracks, as they are now."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in tracked.splitlines():
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", default=[], help="a word of the place; may be given again")
    parser.add_argument("--workers", type=int, default=1, help="mutants at a time")
    options = parser.parse_args()
    mutants = [m for m in MUTANTS if not options.only or any(word in m.place for word in options.only)]
    witnesses, copies = [], SimpleQueue()

    def timed(mutant: Mutant) -> tuple[Mutant, str, str, float]:
        root, start = copies.get(), time.monotonic()
        verdict, report = check(mutant, root)
        copies.put(root)
        return mutant, verdict, report, time.monotonic() - start

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.workers) as pool:
        for worker in range(options.workers):
            copies.put(copy(Path(folder) / str(worker)))
        begin = time.monotonic()
        for count, (mutant, verdict, report, seconds) in enumerate(pool.map(timed, mutants), 1):
            witnesses += [report] if verdict == SEEN else []
            minutes = (time.monotonic() - begin) / count * (len(mutants) - count) / 60
            progress = f"{count:2} of {len(mutants)}, {minutes:3.0f} min left"
            print(f"{progress}  {mutant.place:34} {seconds:4.0f} s  {verdict} {report}", flush=True)
        passed, report = run_tests(sorted(set(witnesses)), copies.get()) if witnesses else (True, "")
    print(f"{len(witnesses)} of {len(mutants)} mutants are seen. The tests that saw them, without a mutant: {report}")
    sys.exit(0 if passed and len(witnesses) == len(mutants) else 1)


if __name__ == "__main__":
    main()
