"""Watching a run: what the twins explain, pictures that compare, and a page that is right at any time."""

import dataclasses
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest

import gaussdiff as gd
import training
from training import Config, sampling
from training.data import dataset as data
from training.data.batches import Examples
from training.data.dataset import Dataset, Rows, load_for
from training.evaluation import explain
from training.page import chart, images, journal, monitor, pictures
from training.page import page as view
from training.step import Trainer

TINY = Config(
    data="toy-gaussian", channels=8, blocks=1, channel_mult=(1,), attention=(), batch=16, steps=20, checkpoint_every=6,
    log_every=2, evaluate_every=4, sample_every=8, explain=True, ema_half_lives=(100.0,),
)  # fmt: skip
IMAGES = dataclasses.replace(TINY, data="digits", groups=4, labels=True)
RNG = np.random.default_rng(2)


@pytest.fixture(scope="module")
def points() -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out vectors of a law that is not Gaussian."""
    x = np.stack([RNG.normal(size=400) ** 3, RNG.normal(size=400), RNG.uniform(-1, 1, 400)], 1).astype(np.float32)
    return x[:300], x[300:]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    x = RNG.uniform(-1, 1, size=(80, 4, 4, 1)).astype(np.float32)
    labels = np.arange(80, dtype=np.int32) % 10
    return Dataset(Rows(x[:40]), Rows(x[40:]), labels[:40], labels[40:], 10)


# What the twins explain.


class Counted(gd.Denoiser):
    """A Gaussian that counts how often it is traced."""

    gaussian: gd.Gaussian
    traces = []  # noqa: RUF012

    def denoise(self, x, level):
        self.traces.append(1)
        return self.gaussian.denoise(x, level)


@pytest.mark.slow
def test_a_gaussian_network_is_explained_by_its_twin_and_by_nothing_else(points):
    explained = explain.Explainer(*points, sigma_data=1.0)(gd.Gaussian.from_samples(points[0]))
    for part in ("denoiser", "score"):
        assert explained[part]["gaussian"] == [1.0] * len(explain.SCALES)
        assert max(*explained[part]["isotropic"], *explained[part]["data_set"]) < 1
    assert explained["error"]["network"] == explained["error"]["gaussian"]
    assert json.loads(json.dumps(explained, allow_nan=False)) == explained


def test_explained_is_what_numpy_finds_by_solving_and_by_a_softmax(points):
    train, explainer = points[0].astype(np.float64), explain.Explainer(*points, sigma_data=0.5)
    explained = explainer(gd.Gaussian.from_samples(points[0]))
    mean, cov = train.mean(0), np.cov(train.T, bias=True)
    for i, sigma in enumerate(explained["sigma"]):
        assert sigma == pytest.approx(0.5 * explain.SCALES[i])
        x = explainer.x[i].astype(np.float64)
        network = mean + np.linalg.solve(cov + sigma**2 * np.eye(3), (x - mean).T).T @ cov
        exponents = -((x[:, None] - train) ** 2).sum(2) / (2 * sigma**2)
        weights = np.exp(exponents - exponents.max(1, keepdims=True))
        data_set = weights @ train / weights.sum(1, keepdims=True)
        ridge = np.trace(cov) / 3
        isotropic = mean + ridge / (ridge + sigma**2) * (x - mean)
        for twin, belief in (("data_set", data_set), ("isotropic", isotropic)):
            for part, power in (("denoiser", 0), ("score", 2)):
                target = (network - (power > 0) * x) / sigma**power
                share = 1 - ((network - belief) ** 2 / sigma ** (2 * power)).sum() / (target.var(0).sum() * len(x))
                assert explained[part][twin][i] == pytest.approx(share, abs=1e-3 + 1e-4 * abs(share))
        error = np.sqrt(((data_set - points[1]) ** 2).mean())
        assert explained["error"]["data_set"][i] == pytest.approx(error, abs=1e-4)


def test_the_share_that_is_shown_is_that_of_the_gaussian_in_the_middle(points, tmp_path, capsys):
    explained = explain.Explainer(*points, sigma_data=1.0)(gd.Gaussian.from_samples(10 * points[0]))
    assert explained["sigma"][2] == 1.0
    with journal.opened(tmp_path / "train.jsonl", 0, 1, batch=4) as book:
        book.note(1, 0.5, 10.0, 0.25, explained)
    assert f"held-out 0.2500  {100 * explained['denoiser']['gaussian'][2]:.0f} % Gaussian" in capsys.readouterr().out
    assert journal.records(tmp_path / "train.jsonl")[0]["explained"] == explained


def test_the_noise_of_the_held_out_samples_has_the_levels_that_are_named(points):
    explainer = explain.Explainer(*points, sigma_data=2.0)
    for x, sigma in zip(explainer.x, explainer.sigmas, strict=True):
        # 300 draws, always the same: 4 standard errors of a standard deviation are 16 %
        assert np.std(x - points[1]) == pytest.approx(sigma, rel=0.16)


def test_explaining_other_weights_compiles_nothing(points):
    explainer = explain.Explainer(*points, sigma_data=1.0)
    Counted.traces.clear()
    for scale in (1.0, 2.0, 3.0):
        explainer(Counted(gd.Gaussian.from_samples(scale * points[0])))
    assert len(Counted.traces) == 1


def test_large_sets_are_fitted_by_a_part_and_wide_samples_by_leading_directions(monkeypatch):
    monkeypatch.setattr(explain, "FITTED", 30)
    monkeypatch.setattr(explain, "WIDEST", 3)
    monkeypatch.setattr(explain, "RANK", 2)
    twins = explain.fit(RNG.normal(size=(100, 4)))
    assert twins["data_set"].log_weights.shape == (30,)
    assert twins["gaussian"].eigvals.shape == (2,)


def test_a_conditional_network_that_never_hides_its_condition_is_not_explained():
    with pytest.raises(ValueError, match=r"^explain: .* got condition_dropout 0; name the condition, or train with"):
        dataclasses.replace(TINY, labels=True, condition_dropout=0.0)


# Pictures.


@pytest.mark.slow
def test_the_points_are_those_that_the_sample_command_draws(tmp_path):
    dataset = load_for(TINY)
    trainer = Trainer.create(TINY, (2,), None)
    params = jax.tree.map(lambda leaf: leaf + 0.1, trainer.initial().ema[0])
    camera = pictures.Pictures(trainer, dataset, tmp_path / "samples")
    drawn = camera.ends(params, camera.starts, camera.conditions, camera.levels)
    asked = sampling.samples(trainer.model(params), 4, gd.Heun(), gd.grids.karras(pictures.STEPS), 0)
    np.testing.assert_allclose(drawn[:4], asked, rtol=1e-4, atol=1e-5)
    camera.take(3, params)
    camera.take(12, params)
    shots = pictures.taken(tmp_path / "samples")
    assert list(shots) == [3, 12]
    assert shots[3].read_bytes() == shots[12].read_bytes()
    camera.take(12, jax.tree.map(lambda leaf: leaf + 0.1, params))
    assert shots[3].read_bytes() != shots[12].read_bytes()
    assert camera.ends._cache_size() == 1
    pictures.rewind(tmp_path / "samples", 11)
    assert list(pictures.taken(tmp_path / "samples")) == [3]
    assert len(list((tmp_path / "samples").iterdir())) == 1


def test_classes_stand_in_columns_and_share_the_noise_of_their_row(digits, tmp_path):
    camera = pictures.Pictures(Trainer.create(IMAGES, (4, 4, 1), 10), digits, tmp_path)
    assert camera.conditions.label is not None
    labels, starts = np.asarray(camera.conditions.label).reshape(6, 10), np.asarray(camera.starts).reshape(6, 10, -1)
    assert (labels == np.arange(10)).all()
    assert (starts == starts[:, :1]).all()
    assert len(np.unique(starts[:, 0, 0])) == 6
    camera.save(labels.reshape(60, 1, 1, 1) / 5 - np.ones((60, 4, 4, 1)), tmp_path / "x.png")
    sheet = matplotlib.image.imread(tmp_path / "x.png")[..., 0]
    side = sheet.shape[1] // 10
    np.testing.assert_allclose(sheet[side // 3, side // 3 :: side], np.arange(10) / 10, atol=0.01)


def test_a_network_that_sharpens_is_shown_between_what_it_saw_and_the_truth(digits, tmp_path):
    config = dataclasses.replace(IMAGES, super_resolution=2)
    camera = pictures.Pictures(Trainer.create(config, (4, 4, 1), 10), digits, tmp_path)
    assert camera.conditions.image is not None
    places = data.spread(len(digits.held_out), pictures.SHARPENED)
    truth = digits.held_out[places]
    blocks = truth[..., 0].reshape(-1, 2, 2, 2, 2).mean((2, 4))
    np.testing.assert_allclose(camera.conditions.image[..., 0], np.kron(blocks, np.ones((1, 2, 2))), atol=1e-6)
    np.testing.assert_array_equal(camera.conditions.label, digits.held_out_labels[places])
    camera.save(np.full_like(truth, 0.5), tmp_path / "x.png")
    sheet = matplotlib.image.imread(tmp_path / "x.png")[..., 0] * 2 - 1
    scale = sheet.shape[1] // (12 * 5)
    tiles = sheet[::scale, ::scale][:4, : 3 * 5].reshape(4, 3, 5)[..., :4].swapaxes(0, 1)
    expected = [np.kron(blocks[0], np.ones((2, 2))), np.full((4, 4), 0.5), truth[0, ..., 0]]
    np.testing.assert_allclose(tiles, expected, atol=0.01)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_images_of_any_number_of_channels_make_a_picture(channels, tmp_path):
    images.save_grid(RNG.uniform(-1, 1, size=(5, 4, 4, channels)), tmp_path / "x.png", columns=5)
    assert (
        matplotlib.image.imread(tmp_path / "x.png").shape[0] * 5 == matplotlib.image.imread(tmp_path / "x.png").shape[1]
    )


@pytest.mark.parametrize("size", [1, 2, 3])
def test_vectors_of_any_length_make_a_picture(size, tmp_path):
    images.save_scatter(RNG.normal(size=(5, size)), RNG.normal(size=(9, size)), tmp_path / "x.png")
    assert matplotlib.image.imread(tmp_path / "x.png").std() > 0


# The page.


class Page(HTMLParser):
    """Reads a page: its tags are closed in their order, `addresses` is all it refers to, `numbers` of its charts."""

    VOID = ("meta", "input", "img", "line", "circle", "polyline")

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.addresses, self.charts = [], [], [], {}
        self.script = self.name = None
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        held = dict(attrs)
        self.tags.append((tag, held))
        self.addresses += [held[name] for name in ("src", "href", "action", "data", "poster") if name in held]
        self.name = held.get("aria-label", self.name) if tag == "svg" else self.name
        self.script = held.get("type") if tag == "script" else None
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.script == "application/json" and self.open[-1] == "script":
            self.charts.setdefault(self.name.removesuffix(" over steps"), []).append(json.loads(data)["curves"])


def fake_run(folder: Path, count: int = 30) -> list[dict]:
    """A folder with the journal and the pictures of a run."""
    folder.mkdir(exist_ok=True)
    records = []
    for step in range(1, count + 1):
        record = {"step": step, "loss": float(np.exp(-step / 10)), "images_per_second": 100.0 + step, "time": 0.0}
        if step % 5 == 0:
            shares = {twin: RNG.uniform(size=5).round(5).tolist() for twin in view.TWINS}
            explained = {"sigma": [0.1, 0.3, 1.0, 3.0, 10.0], "denoiser": shares, "score": shares}
            explained["error"] = {"network": [1.0] * 5, **shares}
            record |= {"held_out_loss": 2 * record["loss"], "explained": explained}
        records.append(record)
    (folder / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "samples").mkdir()
    for step in range(2, 31, 2):
        images.save_grid(RNG.uniform(-1, 1, size=(4, 2, 2, 1)), folder / "samples" / f"step-{step:08d}.png")
    return records


@pytest.mark.parametrize("state", ["running", "finished", "stopped", "failed"])
def test_the_page_is_well_formed_needs_no_network_and_reloads_while_running(state, tmp_path):
    fake_run(tmp_path / "a <b> & $c")
    text = view.page(tmp_path / "a <b> & $c", TINY, (2,), view.Status(state, 30, 123, "why <it> & $ended"))
    page = Page(text)
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert not re.search(r"https?:|//\w|@import|url\(|fetch\(|<link", re.sub(r"base64,[\w+/=]*", "", text))
    refreshed = [held for tag, held in page.tags if tag == "meta" and held.get("http-equiv") == "refresh"]
    assert len(refreshed) == (state == "running")
    for words in (f">{state}<", "why &lt;it&gt; &amp; $ended", "a &lt;b&gt; &amp; $c", "123 parameters", "batch"):
        assert words in text


def test_the_page_holds_every_number_of_the_journal(tmp_path):
    records = fake_run(tmp_path / "run")
    charts = Page(view.page(tmp_path / "run", TINY, (2,), view.Status("running", 30, 1))).charts
    judged = [record for record in records if "explained" in record]
    training_loss, held_out = charts["Loss"][0]
    assert training_loss["steps"] == [record["step"] for record in records]
    assert training_loss["values"] == [record["loss"] for record in records]
    assert held_out["values"] == [record["held_out_loss"] for record in judged]
    assert charts["Images per second"][0][0]["values"] == [record["images_per_second"] for record in records]
    for twin, (name, _) in view.TWINS.items():
        for part, curves in zip(("denoiser", "score"), charts[f"By {name}"], strict=True):
            for i, curve in enumerate(curves):
                assert curve["steps"] == [record["step"] for record in judged]
                assert curve["values"] == [record["explained"][part][twin][i] for record in judged]


def test_the_page_shows_few_pictures_of_many_the_first_and_the_newest_among_them(tmp_path):
    fake_run(tmp_path / "run")
    page = Page(view.page(tmp_path / "run", TINY, (2,), view.Status("running", 30, 1)))
    images = [held for tag, held in page.tags if tag == "img"]
    assert len(images) == view.MOST_PICTURES < 15
    assert (images[0]["data-step"], images[-1]["data-step"]) == ("2", "30")
    assert ["hidden" in held for held in images] == [True] * (view.MOST_PICTURES - 1) + [False]


def test_a_page_is_there_before_the_first_number(tmp_path):
    page = Page(view.page(tmp_path, TINY, (2,), view.Status("running", 0, 1)))
    assert page.charts == {}


def lines(figure: str) -> list[np.ndarray]:
    found = re.findall(r'<polyline points="([^"]*)"', figure)
    return [np.array([place.split(",") for place in points.split()], float) for points in found]


def test_an_exponential_is_a_straight_line_on_a_logarithmic_axis_that_falls():
    steps = list(range(0, 100, 7))
    drawn = lines(chart.figure("x", [chart.Curve("a", "--ink", steps, [np.exp(-s / 9) for s in steps])], log=True))[0]
    slope, start = np.polyfit(drawn[:, 0], drawn[:, 1], 1)
    np.testing.assert_allclose(drawn[:, 1], start + slope * drawn[:, 0], atol=0.1)  # written to a tenth of a pixel
    assert slope > 0  # pixels count downwards


def test_ticks_lie_where_their_values_do():
    figure = chart.figure("x", [chart.Curve("a", "--ink", [0, 50, 100], [0.0, 2.0, 4.0])])
    labels = dict(re.findall(r'y="([\d.]+)" text-anchor="end">([^<]*)</text>', figure)[:-1])
    middle = lines(figure)[0][1, 1]
    assert {float(y) - 4: label for y, label in labels.items()}[middle] == "2"


@pytest.mark.parametrize("values", [[], [0.0], [3.0, 3.0], [-1.0, 1e9], [1e-9, 1e9], [float("nan"), 1.0]])
@pytest.mark.parametrize("log", [False, True])
def test_any_values_make_a_chart(values, log):
    Page(chart.figure("x", [chart.Curve("a </script>", "--ink", list(range(len(values))), values)], log=log))


def test_long_curves_are_thinned_by_averaging():
    values = RNG.normal(size=10 * chart.MOST)
    figure = chart.figure("x", [chart.Curve("a", "--ink", range(len(values)), values.tolist())])
    kept = Page(figure).charts["x"][0][0]
    assert len(kept["values"]) == chart.MOST
    assert np.mean(kept["values"]) == pytest.approx(values.mean())
    assert np.mean(kept["steps"]) == pytest.approx((len(values) - 1) / 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "state"), [(KeyboardInterrupt("the same command"), "stopped"), (FloatingPointError("NaN"), "failed")]
)
def test_however_the_training_ends_the_page_says_so(error, state, tmp_path):
    dataset = load_for(TINY)
    trainer = Trainer.create(dataclasses.replace(TINY, explain=False), (2,), None)
    judged = Examples(jnp.asarray(dataset.held_out[:8]), None)
    opened = monitor.opened(trainer, trainer.initial(), dataset, judged, tmp_path)
    with pytest.raises(type(error)), opened as watcher:  # noqa: PT012
        assert 'class="state running"' in (tmp_path / "index.html").read_text()
        (tmp_path / "index.html").unlink()
        watcher.write_page()  # so soon that the page would say nothing new
        assert not (tmp_path / "index.html").exists()
        raise error
    text = (tmp_path / "index.html").read_text()
    assert f'class="state {state}"' in text
    assert str(error) in text
    assert "http-equiv" not in text


@pytest.mark.slow
def test_a_run_in_two_parts_is_watched_as_the_whole(tmp_path):
    training.train(TINY, tmp_path / "whole")
    training.train(dataclasses.replace(TINY, steps=8), tmp_path / "parts")
    # As a kill after the checkpoint would leave it: a picture and a line of a step that is not saved.
    (tmp_path / "parts" / "samples" / "step-00000011.png").write_bytes(b"")
    training.train(TINY, tmp_path / "parts")
    pages = [Page((tmp_path / part / "index.html").read_text()) for part in ("whole", "parts")]
    for page in pages:
        del page.charts["Images per second"]
    assert pages[0].charts == pages[1].charts
    assert len(pages[0].charts["Loss"][0][0]["steps"]) == 10
    assert len(pages[0].charts["By the Gaussian"][0][0]["steps"]) == 5
    shots = [pictures.taken(tmp_path / part / "samples") for part in ("whole", "parts")]
    assert list(shots[0]) == list(shots[1]) == [8, 16, 20]
    assert [path.read_bytes() for path in shots[0].values()] == [path.read_bytes() for path in shots[1].values()]
    explained = [record for record in journal.records(tmp_path / "whole" / "train.jsonl") if "explained" in record]
    assert [record["step"] for record in explained] == [4, 8, 12, 16, 20]


def test_a_page_names_data_of_any_bytes(tmp_path):
    config = dataclasses.replace(TINY, data=os.fsdecode(b"set\xff"))
    view.write(tmp_path, config, (2,), view.Status("running", 0, 1))
    assert "set\\udcff" in (tmp_path / "index.html").read_text(encoding="utf-8")
