"""The page of a report in a real browser: no error in its console, nothing off-screen, and a slider that moves.

`.ci/run` installs Debian's chromium; elsewhere these tests skip where there is no browser.
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from settings import exact_setting

import training
from analysis.comparison import verdicts
from analysis.comparison.page import page
from analysis.experiments import named
from analysis.harness.experiment import Finding, Result
from analysis.harness.style import NAMES, panels
from analysis.measures import paths as compare
from analysis.measures import quality
from analysis.measures.paths import Paths
from analysis.reporting import figures, study, words, write
from analysis.reporting.page import page as report_page
from analysis.reporting.slider import BUDGET, slider
from analysis.reporting.tables import Table, metrics

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """
<script>
const errors = [];
addEventListener("error", event => errors.push(event.message));
console.error = (...words) => errors.push(words.join(" "));
</script>
"""
ASK = """
<script>
addEventListener("load", () => {
  const level = document.getElementById("level"), say = () => document.getElementById("sigma").textContent;
  const at_hand = level ? [level.min, level.max] : [];
  const picture = () => document.querySelector("#models canvas").toDataURL();
  const seen = [];
  for (const at of at_hand) {
    level.value = at;
    level.dispatchEvent(new Event("input"));
    seen.push([say(), picture()]);
  }
  const scrolls = node => node && (getComputedStyle(node).overflowX === "auto" || scrolls(node.parentElement));
  const wide = [...document.body.querySelectorAll("*")].filter(
    node => node.getBoundingClientRect().right > innerWidth + 1 && !scrolls(node));
  const broken = [...document.images].filter(image => !image.naturalWidth);
  const held = document.getElementById("models")?.parentElement;
  parent.postMessage(JSON.stringify({
    errors, seen, cut: held ? held.scrollWidth - held.clientWidth : 0,
    width: innerWidth, over: wide.map(node => node.outerHTML.slice(0, 80)), broken: broken.length,
    colours: [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]}), "*");
});
</script>
"""
# Chromium's own window is never narrower than 500 pixels; a frame in it may be.
FRAME = """<!doctype html><html><head><meta name="color-scheme" content="light dark"><script>
addEventListener("message", event => {
  const said = document.createElement("pre");
  said.textContent = event.data;
  document.body.replaceChildren(said);
});
</script></head><body><iframe src="page.html" style="border: 0; height: 900px; width: %dpx"></iframe></body></html>"""
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync")
STYLE = Path(words.__file__).with_name("page.css").read_text(encoding="utf-8")
HEAD = f'<!doctype html><html><head><meta charset="utf-8"><title>slider</title><style>{STYLE}</style></head><body><div>'


def browse(page: str, folder, width: int, dark: bool) -> dict:
    """What the page says of itself in a frame of that width."""
    if BROWSER is None:
        pytest.skip("no Chromium on this machine; install the package chromium to run the tests of the page")
    probed = page.replace("<head>", "<head>" + PROBE, 1).replace("</body>", ASK + "</body>", 1)
    (folder / "page.html").write_text(probed, "utf-8")
    place = folder / "frame.html"
    place.write_text(FRAME % width, "utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", scheme]
    size = f"--window-size={width + 50},950"
    asked = [BROWSER, *flags, *QUIET, size, "--virtual-time-budget=5000", "--dump-dom", place.as_uri()]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=600)
    answer = re.search(r"<pre>(.*)</pre>", done.stdout, re.DOTALL)
    assert answer, done.stderr[-2000:]
    seen = json.loads(html.unescape(answer[1]))
    assert seen["width"] == width
    return seen


def check(seen: dict) -> None:
    assert seen["errors"] == []
    assert seen["over"] == []
    assert seen["broken"] == 0


def check_slider(seen: dict) -> None:
    check(seen)
    (first, noise), (last, sample) = seen["seen"]
    assert seen["cut"] == 0, "a reader would have to scroll to see every model"
    assert "noise" in first
    assert "the sample" in last
    assert noise != sample, "the slider moved and the picture did not"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1000, 500, 360])
def test_the_slider_works_in_a_browser(tmp_path, width):
    paths = exact_setting(starts=3, steps=8).paths
    check_slider(browse(HEAD + slider(paths) + "</div></body></html>", tmp_path, width, dark=False))


def test_the_slider_shows_points_of_vectors(tmp_path):
    rng = np.random.default_rng(0)
    path = Paths(np.array([9.0, 1.0, 0.0]), rng.normal(size=(40, 3, 2)), rng.normal(size=(40, 2, 2)))
    check_slider(
        browse(HEAD + slider({"network": path, "gaussian": path}) + "</div></body></html>", tmp_path, 800, False)
    )


def channels(count: int, starts: int = 3) -> dict[str, Paths]:
    """Paths of images (4, 6, count), the network's and a twin's, each channel of its own brightness."""
    rng, levels = np.random.default_rng(0), np.array([9.0, 1.0, 0.0])
    bright = np.linspace(-1, 1, count)
    x, denoised = (bright + rng.normal(size=(starts, n, 4, 6, count)) / 4 for n in (3, 2))
    return {"network": Paths(levels, x, denoised), "gaussian": Paths(levels, x, -denoised)}


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_of_images_that_are_neither_grey_nor_in_colour_the_first_channel_is_shown_and_said_to_be(count, tmp_path):
    paths = channels(count)
    samples = {name: path.samples for name, path in paths.items()}
    drawn = figures.trajectories(paths), figures.samples(samples)
    for figure in drawn:
        assert write.drawn(figure, "png").startswith(b"\x89PNG")
        assert figure.get_suptitle().endswith(f"(the first of {count} channels)")
    shown = drawn[1].axes[0].get_images()[0].get_array()
    np.testing.assert_allclose(shown, np.clip(paths["network"].samples[0, ..., 0] / 2 + 0.5, 0, 1))
    text = slider(paths)
    assert '"shape": [4, 6, 1]' in text
    assert f"Shown and compared here: the first of {count} channels." in text
    check_slider(browse(HEAD + text + "</div></body></html>", tmp_path, 800, dark=False))


def test_samples_that_are_no_images_are_drawn_as_points():
    path = Paths(np.array([9.0, 1.0, 0.0]), np.ones((5, 3, 2, 3)), np.ones((5, 2, 2, 3)))
    figure = figures.trajectories({"network": path})
    assert write.drawn(figure, "png").startswith(b"\x89PNG")
    assert '"kind": "plane"' in slider({"network": path})
    figure = figures.samples({"network": path.samples})
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata(), np.ones((5, 2)))


def test_a_page_stays_small_with_large_images():
    path = Paths(np.geomspace(80, 0.1, 33), np.zeros((9, 33, 64, 64, 3)), np.zeros((9, 32, 64, 64, 3)))
    assert len(slider({"network": path, "gaussian": path, "mixture": path, "data_set": path})) < 2 * BUDGET


def entry(verdict: str, **numbers) -> dict:
    return {"verdict": verdict, "found": f"It {verdict} <here>.", "numbers": numbers}


TOLD = {
    "short": verdicts.Told(
        {"A1": entry("agrees", two_components={"network": [0.9, 0.8, 0.95]}), "A8": entry("agrees")}, "its report"
    ),
    "a run of a longer name": verdicts.Told(
        {"A1": entry("differs", two_components={"network": [0.5, 0.4, 0.6]})}, "its report", "the run is at step 9 now"
    ),
    "third": verdicts.Told({"A1": entry("not measured")}, verdicts.UNKNOWN),
}


@pytest.mark.slow
def test_runs_side_by_side_are_a_page_that_fits(tmp_path):
    picture = write.drawn(panels(4)[0], "png")
    text = page(Table("Runs", "A note.", ["run", "step"], [[name, "5"] for name in TOLD]), picture, picture, TOLD, True)
    assert "Stale: the run is at step 9 now" in text
    assert text.count('<tr class="apart">') == 1, "the runs differ on A1, and on nothing else"
    assert "&lt;here&gt;" in text
    seen = [browse(text, tmp_path, width, dark) for width, dark in ((1000, False), (360, True))]
    for each in seen:
        check(each)
    assert seen[0]["colours"] != seen[1]["colours"]


def test_verdicts_side_by_side_hold_the_number_of_each_run_and_say_where_they_part():
    (first,), (second,), (third,) = ([row[i] for row in verdicts.table(TOLD).rows[:1]] for i in (1, 2, 3))
    assert (first, second) == ("agrees 0.9 (0.8 to 0.95)", "differs 0.5 (0.4 to 0.6)")
    assert third == "not measured –"
    assert verdicts.shown(TOLD) == ["A1", "A8"]
    assert verdicts.sentence(TOLD) == "Of 1 claim measured on every run: the verdicts differ on A1."
    most = verdicts.cell(entry("agrees", distance_share_of_edm={"GITS, network": [[3, 2, 4], [0.5, 0.4, 0.6]]}), "D9")
    assert most == ("agrees", "0.5 (0.4 to 0.6)")
    assert verdicts.cell(entry("agrees", order_correlation=[0.5, None, None]), "A8") == ("agrees", "0.5")


def bare_study(results: tuple[Result, ...] = ()) -> study.Study:
    """A study of exact models, with what was found."""
    setting = exact_setting(starts=3, steps=8)
    samples = {name: path.samples for name, path in setting.paths.items()}
    return study.Study(
        settings=study.Settings(starts=3, steps=8),
        config=training.Config(seed=11, objective="flow"),
        step=7,
        setting=setting,
        results=results,
        distances=compare.distance_to_network(setting.paths),
        variances=np.ones(2),
        committed={name: np.ones(2) for name in setting.models},
        quality=quality.judge(samples, setting.data, setting.features),
        seconds={"open": 1.25, **{result.experiment.name: result.seconds for result in results}},
    )


@pytest.mark.slow
def test_every_place_of_a_report_s_page_is_filled_also_where_nothing_was_measured():
    bare = bare_study()
    text = report_page(bare, {"trajectories": b"", "samples": b""})
    assert "after 7 steps" in text
    assert "pixels run from" in text
    assert "$" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert metrics(bare)["explained_variance"] == {}


def found(numbers: dict) -> Result:
    """A1, with these numbers."""
    return Result(named("A1"), Finding("differs", "Something.", numbers), None, None, 2.5)


@pytest.mark.slow
def test_a_page_holds_numbers_as_json_does_and_how_the_run_was_made(tmp_path):
    unknown, curves = [0.5, float("nan"), float("nan")], [[1.0, 0.123456], [2.0, 3.0]]
    a1 = found({"two_components": {"network": unknown}, "curves": curves, "count": 3})
    text = report_page(bare_study((a1,)), {"trajectories": drawing(), "samples": drawing()})
    cells = dict(re.findall(r"<tr><th>([^<]*)</th><td>([^<]*)</td></tr>", text))
    assert cells["two components, network"] == "[0.5, null, null]"
    assert cells["curves"] == "[[1, 0.1235],\n [2, 3]]"
    assert cells["count"] == "3"
    made = {name: cells[name] for name in ("objective", "seed", "held out", "flip", "image size", "channel mult")}
    assert made == {
        "objective": "flow",
        "seed": "11",
        "held out": "0.2",
        "flip": "false",
        "image size": "null",
        "channel mult": "[1, 2]",
    }
    assert (cells["open the run and its data, fit the twins"], cells["A1 One path is nearly flat"]) == ("1.25", "2.5")
    opened = text.replace("<details", "<details open")
    for width, dark in ((1000, True), (360, False)):
        check_slider(browse(opened, tmp_path, width, dark))


def drawing() -> bytes:
    return write.drawn(panels(4)[0], "png")


@pytest.mark.parametrize("images", [True, False])
def test_the_words_of_a_page_hold_every_model_that_figures_name(images):
    text = words.words(images)
    terms = ", ".join(re.findall(r"<dt>([^<]*)</dt>", text))
    assert [name for key, name in NAMES.items() if key not in ("network", "real") and name not in terms] == []
    assert {"Fréchet distance", "fine solution"} <= set(terms.split(", "))
    assert "$" not in text
    assert ("the average image" in text, "the average point" in text) == (images, not images)
