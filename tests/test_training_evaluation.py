"""What `python -m training evaluate` says of models whose likelihood and samples are known."""

import dataclasses
import json
import shutil

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gaussdiff as gd
from training import Config
from training.commands import main
from training.data import dataset
from training.data.dataset import Dataset, images, load
from training.evaluation import errors as evaluate
from training.evaluation import evaluate as assess
from training.evaluation import features, likelihoods
from training.evaluation import samples as quality

RNG = np.random.default_rng(3)
TINY = Config(data="toy-gaussian", channels=8, blocks=1, channel_mult=(1,), attention=(), batch=16)
LAW = gd.Gaussian.from_moments(jnp.array([0.5, -0.2]), jnp.array([[0.9, 0.3], [0.3, 0.4]]))


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def classifier(digits) -> features.Classifier:
    return features.learn_classifier(digits)


@pytest.fixture
def run(trained, tmp_path):
    """The small run, in a folder that may be written to; its noise begins at sigma = 60."""
    return shutil.copytree(trained, tmp_path / "run")


def score(scores: list[quality.Score], name: str) -> quality.Score:
    return next(row for row in scores if row.name == name)


def test_bins_are_read_off_the_data(digits):
    assert likelihoods.count_bins(digits.train) == 17
    assert likelihoods.count_bins(images(RNG.integers(0, 256, (50, 4, 4, 1), np.uint8))) == 256
    assert likelihoods.count_bins(np.array([[-1.0], [1.0]])) == 2
    assert likelihoods.count_bins(RNG.uniform(-1, 1, (500, 2)).astype(np.float32)) is None
    assert likelihoods.count_bins(images(RNG.integers(0, 256, (50, 4, 4, 1), np.uint8)) / 2 + 0.101) is None
    assert likelihoods.count_bins(np.zeros((3, 2))) is None
    # Bytes in [0, 1] are every second of 511 even values; steps that do not reach 1 are no bins at all.
    assert likelihoods.count_bins(np.arange(256.0)[:, None] / 255) == 511
    assert likelihoods.count_bins(images(np.arange(0, 256, 10, np.uint8)[:, None])) is None


def test_a_classifier_is_learned_only_from_labels_that_can_be_learned(digits):
    x = digits.train_rows[np.arange(160)]

    def learnable(labels):
        return features.can_learn(dataset.Dataset(dataset.Rows(x), dataset.Rows(x), labels, labels, 160))

    assert learnable(np.arange(160) % 4)
    assert not learnable(np.zeros(160, int))
    assert not learnable(np.arange(160))
    assert not learnable(np.where(np.arange(160) < 9, 0, 1))
    assert not features.can_learn(dataset.Dataset(dataset.Rows(x), dataset.Rows(x)))
    assert likelihoods.Convention.of(digits.train, 40.0) == likelihoods.Convention(17, 1 / 32, 40.0)
    with pytest.raises(
        ValueError, match=r"^sigma_max: expected a run to noise above 0\.0312.* got 0\.03; .*--likelihoods 0"
    ):
        likelihoods.Convention.of(digits.train, 0.03)


@pytest.mark.slow
def test_errors_by_level_are_posterior_variances_of_the_exact_gaussian():
    """Of the law's own denoiser, the mean of tr Cov[x0 | x] / D; of white noise's in its place, what Bayes leaves."""
    x = np.asarray(jax.vmap(LAW.sample)(jax.random.split(jax.random.key(0), 2000)))
    train, held_out = dataset.Rows(x[:1000]), dataset.Rows(x[1000:])
    white = gd.Gaussian.isotropic(LAW.mean, 1.0)
    found = evaluate.table(LAW, white, train, held_out, dataclasses.replace(TINY, sigma_data=1.0), most=800)
    assert found["samples"] == {"train": 800, "held_out": 800}
    lam = np.linalg.eigvalsh(np.array([[0.9, 0.3], [0.3, 0.4]]))
    for row in found["rows"]:
        s2 = row["sigma"] ** 2
        exact = {"train": (lam * s2 / (lam + s2)).mean(), "gaussian": ((s2**2 * lam + s2) / (1 + s2) ** 2).mean()}
        exact["held_out"] = exact["train"]
        for name, value in exact.items():
            mean, error = row[name]
            assert abs(mean - value) < 5 * error
            # |e|^2 / 2 of a Gaussian e of two entries deviates by 1 to sqrt(2) times its mean
            assert 0.8 < error * np.sqrt(800) / value < 1.2 * np.sqrt(2)
        assert row["loss"] == pytest.approx(row["held_out"][0] * (1 + s2) / s2, rel=1e-5)


@pytest.mark.parametrize(
    ("run", "table"),
    [((0.002, 80), (0.02, 20)), ((0.1, 5), (0.1, 5)), ((30, 90), (30, 90)), ((15, 80), (15, 80)), ((1e-3, 0.01),) * 2],
)
def test_levels_that_are_judged_are_among_those_of_the_run(run, table):
    config = dataclasses.replace(TINY, sigma_data=1.0, sigma_min=run[0], sigma_max=run[1])
    few = dataset.Rows(np.zeros((2, 2), np.float32))
    sigmas = [row["sigma"] for row in evaluate.table(LAW, LAW, few, few, config)["rows"]]
    assert len(sigmas) == 13
    np.testing.assert_allclose([sigmas[0], sigmas[-1]], table, rtol=1e-6)
    np.testing.assert_allclose(np.diff(np.log(sigmas)), np.log(table[1] / table[0]) / 12, rtol=1e-3)


@pytest.mark.slow
def test_bounds_of_the_exact_gaussian_are_its_log_density():
    """By Bayes the flow's bound is log p(x) - log p(x | y) + log N(x; E[x | y], s^2), whose two last
    terms differ by s^2 / lam.

    So it holds for every sample, but for the prior at sigma = 80, which knows nothing of the mean: mean . z / 80. The
    chain's bound holds on average, and by no more than its steps cost: 1,000 of them 0.02 nats.
    """
    x = jax.vmap(LAW.sample)(jax.random.split(jax.random.key(0), 64))
    exact = np.asarray(jax.vmap(LAW.log_prob)(x))
    flow = likelihoods.flow_bounds(LAW, x, jax.random.split(jax.random.key(1), 64), jnp.array([0.01, 80.0]))
    np.testing.assert_allclose(flow, exact, atol=5 * 0.54 / 80)
    assert flow.mean() == pytest.approx(exact.mean(), abs=5 * 0.54 / 80 / 8)
    levels = gd.grids.uniform_log_snr(1000, 0.01, 80.0, final_zero=False)
    # from sigma = 2 the prior N(0, 4) is not the law that the flow carries to, which it meets at these places
    short = likelihoods.flow_bounds(LAW, x, jax.random.split(jax.random.key(1), 64), jnp.array([0.01, 2.0]))
    lam, basis = np.linalg.eigh(np.array([[0.9, 0.3], [0.3, 0.4]]))
    mean, wide = np.asarray(LAW.mean), lam + 4
    z = (np.asarray(x) - mean) @ basis / np.sqrt(lam)
    ends = mean + z * np.sqrt(wide) @ basis.T
    cost = -(ends**2).sum(1) / 8 - np.log(4) + (z**2).sum(1) / 2 + np.log(wide).sum() / 2
    assert np.ptp(cost) > 1
    np.testing.assert_allclose(short, exact + cost, atol=0.1)
    gaps = exact - likelihoods.chain_bounds(LAW, x, jax.random.split(jax.random.key(2), 64), levels)
    assert gaps.mean() == pytest.approx(0.01, abs=0.01 + 5 * float(gaps.std()) / 8)


@pytest.mark.slow
def test_the_flow_bounds_the_probability_of_discrete_data():
    """Two points of weight 1/4 and 3/4 as the model: each bound is the log of the weight, since s is far below a bin.

    But for the prior at sigma = 80, x . z / 80 with |x| = sqrt(2).
    """
    points, logs = jnp.array([[-1.0, 1.0], [1.0, 1.0]]), np.log([0.25, 0.75])
    law = gd.Empirical(points, log_weights=jnp.asarray(logs))
    found = likelihoods.measure(law, np.asarray(points), likelihoods.Convention(3, 0.05, 80.0), probes=None, steps=8)
    assert [row.name for row in found] == ["flow", "chain"]
    assert all(isinstance(row, likelihoods.Likelihood) for row in found)
    row, slack = found[0], 5 * np.sqrt(2) / 80
    assert row.nats == pytest.approx(logs.mean(), abs=slack)
    # bits are nats / (2 log 2); the error of the mean of two is half their difference
    assert row.bits_per_dim == pytest.approx(-row.nats / np.log(4), rel=1e-9)
    assert row.error == pytest.approx(np.log(3) / 2, abs=slack)
    assert row.bits_error == pytest.approx(row.error / np.log(4), rel=1e-9)
    assert found[1].nats < logs.mean()


def test_principal_components_keep_distances_where_there_are_few_numbers(digits):
    few = digits.train[:60]
    extract = features.principal_components(digits.train).extract
    kept = np.linalg.norm(extract(few)[:, None] - extract(few)[None], axis=-1)
    np.testing.assert_allclose(kept, np.linalg.norm(few[:, None] - few[None], axis=(2, 3)).squeeze(-1), atol=2e-5)


def test_principal_components_of_many_numbers_are_the_first_singular_vectors():
    x = RNG.normal(size=(300, 100)) * np.geomspace(10, 0.1, 100)
    found = features.principal_components(x)
    _, values, vectors = np.linalg.svd(x - x.mean(0), full_matrices=False)
    expected = (x - x.mean(0)) @ vectors[:64].T
    np.testing.assert_allclose(np.abs(found.extract(x)), np.abs(expected), rtol=1e-6, atol=1e-8)
    assert (
        f"64 principal components of the training data, {(values[:64] ** 2).sum() / (values**2).sum():.1%}"
        in found.name
    )


def test_features_of_a_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import numpy as np\nnumber = 3\ndef sums(x):\n    return x.reshape(len(x), -1).sum(1)[:, None]\n")
    found = features.from_file(f"{file}:sums")
    assert found.name == "sums of mine.py"
    assert found.extract(np.ones((2, 3, 3, 1))).tolist() == [[9.0], [9.0]]
    for place, error, message in (
        (str(file), ValueError, "features: expected FILE.py:FUNCTION"),
        (f"{file}:", ValueError, "features: expected FILE.py:FUNCTION"),
        (f"{file}:number", ValueError, "features: expected a function in .*mine.py, got 'number'"),
        (f"{tmp_path / 'none.py'}:sums", FileNotFoundError, "features: expected a Python file, got .*none.py"),
    ):
        with pytest.raises(error, match=message):
            features.from_file(place)


@pytest.mark.slow
def test_held_out_data_are_at_distance_zero_and_noise_is_far(digits):
    space = features.principal_components(digits.train)
    same = quality.distances(digits.held_out[::-1], digits, space)
    assert score(same, "Frechet distance").value == pytest.approx(0, abs=1e-9)
    assert score(same, "sliced Wasserstein").value == pytest.approx(0, abs=1e-9)
    assert (score(same, "precision").value, score(same, "recall").value) == (1, 1)
    noise = quality.distances(RNG.uniform(-1, 1, size=digits.held_out.shape), digits, space)
    for row in noise:
        worse = row.floor - row.value if row.name in ("precision", "recall") else row.value - row.floor
        assert worse > 10 * row.floor_spread, row
    assert {row.features for row in noise} == {space.name}


@pytest.mark.slow
def test_the_floor_is_what_real_samples_have(digits):
    """Training samples in the place of samples are within 5 spreads of the floor that other draws of them make."""
    # by chance: neighbours in the set are of one writer
    drawn = np.random.default_rng(9).permutation(digits.train)[:400]
    rows = quality.distances(drawn, digits, features.principal_components(digits.train), seed=1)
    for row in rows:
        assert abs(row.value - row.floor) < 5 * row.floor_spread, row


def test_copies_are_found_and_unseen_data_are_none(digits):
    """Of 100 copies among 200 samples; the other half of the held-out data gives the floor."""
    mixed = np.concatenate([digits.train[:100], digits.held_out[:100]])
    ratio, share = quality.copies(mixed, digits)
    assert share.value == pytest.approx(0.5, abs=0.05)
    assert share.floor < 0.05
    assert 0.5 < ratio.floor < 1
    assert quality.copies(digits.train[:100] + 0.01, digits)[0].value < 0.1


class Known(gd.Denoiser):
    """The law of each class, N(its mean, 0.1^2), told by label; `shift` mistakes one class for another."""

    means: jax.Array
    label: jax.Array
    shift: int = 0
    shape: tuple[int, ...] = eqx.field(static=True, default=(2,))
    classes: int = eqx.field(static=True, default=3)

    def given(self, label):
        return dataclasses.replace(self, label=jnp.asarray((label + self.shift) % self.classes))

    def denoise(self, x, level):
        return gd.Gaussian.isotropic(self.means[self.label], 0.01).denoise(x, level)


def test_samples_are_recognised_where_they_are_what_was_asked_for():
    means, labels = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]]), np.arange(300) % 3
    x = means[labels] + 0.1 * RNG.normal(size=(300, 2))
    clusters = dataset.from_arrays(x, labels)
    classifier = features.Classifier(
        lambda x: np.linalg.norm(x[:, None] - means, axis=-1).argmin(1), features.Features("unused", lambda x: x)
    )
    asked = assess.Questions(samples=40)
    model = Known(jnp.asarray(means, jnp.float32), jnp.asarray(0))
    config = dataclasses.replace(TINY, labels=True)
    for shift, share in ((0, 1.0), (1, 0.0)):
        shifted = dataclasses.replace(model, shift=shift)
        found = assess.recognised(shifted, clusters, config, classifier, asked)
        assert (found["each"], found["n"], found["share"]) == (14, 42, share)
        assert set(found["by_class"].values()) == {share}
        assert found["accuracy"] == 1
        assert f"{share:.1%} ± 2.3%" in assess.page({"recognised": found})
        # By the rule of succession (k + 1) of (n + 2): sqrt(43 / 44 * 1 / 44 / 42)
        assert found["error"] == pytest.approx(0.0230, abs=1e-4)


@pytest.mark.parametrize(
    ("train", "held_out", "judged"), [([1, 2, 3], [1, 2, 3], [1, 2, 3]), ([0, 1, 2], [0, 2, 3], [0, 2])]
)
def test_labels_that_the_data_lack_are_not_judged(train, held_out, judged):
    """Four classes, as a run of an earlier version had of labels 1 to 3, or as a split leaves them."""
    means = np.array([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0], [2.0, 2.0]])
    labels = [np.array(each, np.int32)[np.arange(60) % 3] for each in (train, held_out)]
    clusters = dataset.Dataset(*(dataset.Rows(means[each]) for each in labels), *labels, 4)
    nearest = features.Classifier(
        lambda x: np.linalg.norm(x[:, None] - means, axis=-1).argmin(1), features.Features("unused", lambda x: x)
    )
    model = Known(jnp.asarray(means, jnp.float32), jnp.asarray(0), classes=4)
    config = dataclasses.replace(TINY, labels=True)
    measured = assess.recognised(model, clusters, config, nearest, assess.Questions(samples=12))
    assert list(measured["by_class"]) == judged
    assert measured["left_out"] == sorted({0, 1, 2, 3} - set(judged))
    assert (measured["share"], measured["accuracy"], measured["n"]) == (1, 1, 12)
    assert measured["held_out"] == np.isin(labels[1], judged).sum()
    assert f"without {4 - len(judged)} labels that training or held-out samples lack: " in assess.page(
        {"recognised": measured}
    )


@pytest.mark.slow
@pytest.mark.parametrize("labels", [True, False])
def test_only_a_run_that_was_told_labels_is_asked_for_them(labels):
    clusters = dataset.from_arrays(RNG.normal(size=(300, 2)) + 3 * (np.arange(300) % 2)[:, None], np.arange(300) % 2)
    model = Known(jnp.zeros((3, 2)), jnp.asarray(0))
    config = dataclasses.replace(TINY, labels=labels)
    found = assess.assess(model, clusters, config, assess.Questions(samples=8, likelihoods=0))
    assert found.keys() == {"levels", "quality"} | ({"recognised"} if labels else set())


@pytest.mark.slow
def test_held_out_data_are_recognised_as_well_as_held_out_data(digits, classifier):
    found = quality.recognised(digits.held_out, digits.held_out_labels, digits, classifier)
    assert found.share > 0.85
    assert abs(found.accuracy - found.share) < 0.01  # of classes of nearly the same size
    assert found.accuracy == pytest.approx(np.mean(list(found.by_class.values())))
    assert f"{found.share:.1%} of the held-out" in classifier.features.name
    mixed = quality.recognised(digits.held_out, RNG.permutation(digits.held_out_labels), digits, classifier)
    assert abs(mixed.share - 0.1) < 5 * np.sqrt(0.09 / mixed.n)


def test_samples_of_each_class_alike_stand_beside_the_mean_over_classes_of_the_held_out_data():
    """A judge who knows one class only: of 90 and 10 held-out samples .5, as perfect samples of both would have."""
    x, labels = RNG.normal(size=(100, 2)), np.repeat([0, 1], [90, 10])
    unequal = dataset.Dataset(dataset.Rows(x), dataset.Rows(x), labels, labels, 2)
    always_0 = features.Classifier(lambda x: np.zeros(len(x), int), features.Features("", lambda x: x))
    found = quality.recognised(x[:40], np.repeat([0, 1], 20), unequal, always_0)
    assert found.share == found.accuracy == 0.5
    assert found.by_class == {0: 1, 1: 0}


def test_labels_in_turns_are_all_learned():
    labels = np.arange(2000) % 2
    x = RNG.normal(size=(2000, 2)) + 5 * labels[:, None]
    turns = dataset.Dataset(dataset.Rows(x), dataset.Rows(x), labels, labels, 2)
    assert features.can_learn(turns)
    assert (features.learn_classifier(turns).predict(x) == labels).mean() > 0.95


def test_features_and_floors_share_no_training_sample(digits, monkeypatch):
    """What a floor is drawn from is the half of the rows that no features are learned on."""
    learned = []
    monkeypatch.setattr(features, "principal_components", lambda x: learned.append(x))
    features.learn_components(digits)
    seen, kept = ({x.tobytes() for x in part} for part in (learned[0], features.unseen(digits)[:]))
    assert len(learned[0]) + len(features.unseen(digits)) == len(digits.train)
    assert seen.isdisjoint(kept)


def test_what_is_learned_of_labels_never_sees_the_half_that_floors_are_drawn_from(digits, monkeypatch):
    """A spy in the place of the network; and the floors of `distances` ask for samples of the other half alone."""
    seen, asked = [], []

    class Spy:
        def __init__(self, *_, **options):
            self.coefs_, self.intercepts_ = [np.eye(64), np.eye(64)], [np.zeros(64), np.zeros(64)]

        def fit(self, x, labels):
            seen.append((x, labels))

        def score(self, x, labels):
            return 1.0

    monkeypatch.setattr("sklearn.neural_network.MLPClassifier", Spy)
    found = features.learn_classifier(digits)
    (x, labels), kept = seen[0], features.unseen(digits)[:].reshape(-1, 64)
    assert len(x) + len(kept) == len(digits.train)
    assert {row.tobytes() for row in x.astype(np.float32)}.isdisjoint({row.tobytes() for row in kept})
    by_image = dict(zip((row.tobytes() for row in digits.train), digits.train_labels, strict=True))
    assert [by_image[row.tobytes()] for row in x.astype(np.float32)] == labels.tolist()
    spied = features.Features("spied", lambda x: asked.append(x) or found.features.extract(x))
    quality.distances(digits.held_out[:50], digits, spied)
    drawn = {row.tobytes() for part in asked for row in part} & set(by_image)
    assert drawn
    assert drawn <= {row.tobytes() for row in kept}


def test_unseen_samples_are_the_other_half_also_of_a_part_that_lies_among_others(digits):
    """Rows that name their places in what is stored, as after a split, and rows without."""
    plain = dataclasses.replace(digits, train_rows=dataset.Rows(digits.train))
    for each in (digits, plain):
        halves = [np.concatenate([each.train_rows[half] for half in features._halves(each)]), features.unseen(each)[:]]
        assert sorted(row.tobytes() for row in halves[0]) == sorted(row.tobytes() for row in digits.train)
        np.testing.assert_array_equal(halves[1], halves[0][-len(halves[1]) :])
    assert digits.train_rows.places is not None


@pytest.mark.slow
def test_the_command_prints_and_writes_every_number_with_its_floor(run, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text("def first(x):\n    return x[:, :1]\n")
    small = ["--samples", "40", "--likelihoods", "3", "--chain", "4", "--features", f"{file}:first"]
    assert main(["evaluate", "--run", str(run), *small]) == 0
    printed = capsys.readouterr().out
    found = json.loads((run / "evaluation.json").read_text())
    assert (found["likelihood"]["bins"], found["likelihood"]["probes"]) == (None, None)
    for model in ("network", "gaussian"):
        assert all(np.isfinite(found["likelihood"][model][name]["nats"]) for name in ("flow", "chain"))
    assert {row["features"].split(" ")[0] for row in found["quality"]["scores"]} == {"the", "first", "entries"}
    for row in found["quality"]["scores"]:
        assert np.isfinite([row["value"], row["floor"]]).all()
        assert f"{row['value']:.4g}" in printed
        assert f"{row['floor']:.4g}" in printed
    assert found["likelihood"]["sigma_max"] == 60
    for words in (
        "held out",
        "from sigma 60 down to 0.01;",
        "bits per dimension of 3 held-out samples",
        "40 samples of 18",
        "exact trace",
        "4 steps",
    ):
        assert words in printed
    assert set(assess.MEANINGS) <= {row["name"] for row in found["quality"]["scores"]} | {"flow", "chain"}


@pytest.mark.slow
def test_what_was_measured_stays_whatever_fails_later(run, tmp_path, capsys, monkeypatch):
    """A flow that no tolerance lets through, features that fail on many samples, and Ctrl-C in the last table."""
    file = tmp_path / "mine.py"
    file.write_text(
        "def none(x): return x[:1]\n"
        "def few(x): return x if len(x) < 9 else x[:, 0]\n"
        "def stop(x):\n    if len(x) > 9: raise KeyboardInterrupt\n    return x\n"
    )
    small = ["evaluate", "--run", str(run), "--samples", "40", "--likelihoods", "2", "--chain", "4", "--features"]
    assert main([*small, f"{file}:none"]) == 2
    assert "expected finite features (N, F) of samples (2, 2), got shape (1, 2)" in capsys.readouterr().err
    assert not (run / "evaluation.json").exists()
    monkeypatch.setattr(likelihoods, "TOLERANCE", 1e-12)
    assert main([*small, f"{file}:few"]) == 2
    printed, errors = capsys.readouterr()
    assert "held out" in printed
    assert f"the rest is in {run / 'evaluation.json'}" in errors
    for model in ("network", "gaussian"):
        assert f"{model}: the probability flow of a sample could not be solved" in errors
    assert "\nquality: features: expected finite features (N, F)" in errors
    found = json.loads((run / "evaluation.json").read_text())
    assert len(found["levels"]["rows"]) == 13
    assert found["failed"].keys() == {"likelihood", "quality"}
    for model in ("network", "gaussian"):
        flow, chain = found["likelihood"][model]["flow"], found["likelihood"][model]["chain"]
        assert flow.keys() == {"name", "failed"}
        assert np.isfinite(chain["nats"])
        assert f"{chain['bits_per_dim']:.4g}" in printed
    assert printed.count("not solved") == 2
    assert main([*small, f"{file}:stop", "--likelihoods", "0"]) == 130
    assert json.loads((run / "evaluation.json").read_text()) == found, "an earlier evaluation stays"
    begun = json.loads((run / "evaluation.json.partial").read_text())
    assert "levels" in begun
    assert not {"failed", "quality"} & begun.keys()


def test_copies_are_found_in_a_training_set_that_is_looked_at_in_parts(digits, monkeypatch):
    samples = np.concatenate([digits.train[::100], digits.held_out[:20]])
    whole = gd.metrics.copy_ratios(samples, digits.train, digits.held_out)
    assert np.isinf(whole).any()
    np.testing.assert_array_equal(quality._copy_ratios(samples, digits.train_rows, digits.held_out, chunk=7), whole)


def test_features_that_cannot_work_are_named(digits, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import torch_that_is_not_here\n")
    with pytest.raises(ValueError, match=r"features: expected a Python file that runs, got .*mine.py: Mod"):
        features.tried(f"{file}:broken", digits)
    file.write_text("def broken(x): return x.shapes\ndef endless(x): return x.reshape(len(x), -1) / 0\n")
    for name, message in (
        ("broken", r"broken of mine.py fails on samples \(2, 8, 8, 1\): AttributeError"),
        ("endless", r"got shape \(2, 64\), 0% of them finite"),
    ):
        with np.errstate(all="ignore"), pytest.raises(ValueError, match=f"^features: .*{message}"):
            features.tried(f"{file}:{name}", digits)


@pytest.mark.parametrize(
    ("field", "value"),
    [("samples", 3), ("likelihoods", 1), ("probes", 1), ("chain", 0), ("steps", 0), ("seed", -1), ("seed", 2**32)],
)
def test_questions_that_have_no_answer_are_refused(field, value):
    with pytest.raises(ValueError, match=rf"{field}: expected .*(at least|integer in) .*, got {value}"):
        dataclasses.replace(assess.Questions(), **{field: value}).check()
