"""The page of a report in a real browser: no error in its console, nothing off-screen, and a slider that moves.

`.ci/run` installs Debian's chromium; elsewhere these tests skip where there is no browser.
"""

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from settings import exact_setting

import training
from analysis.comparison import verdicts
from analysis.comparison.page import page
from analysis.experiments import named
from analysis.harness.experiment import Result, failed
from analysis.harness.finding import Criterion, Finding
from analysis.harness.style import NAMES, panels
from analysis.harness.table import Table
from analysis.measures import paths as compare
from analysis.measures import quality
from analysis.measures.bootstrap import Interval
from analysis.measures.paths import Paths
from analysis.reporting import claims, drawing, figures, study, words
from analysis.reporting.page import page as report_page
from analysis.reporting.slider import BUDGET, slider
from analysis.reporting.tables import metrics

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
        assert drawing.drawn(figure, "png").startswith(b"\x89PNG")
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
    assert drawing.drawn(figure, "png").startswith(b"\x89PNG")
    assert '"kind": "plane"' in slider({"network": path})
    figure = figures.samples({"network": path.samples})
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata(), np.ones((5, 2)))


def test_a_page_stays_small_with_large_images():
    path = Paths(np.geomspace(80, 0.1, 33), np.zeros((9, 33, 64, 64, 3)), np.zeros((9, 32, 64, 64, 3)))
    assert len(slider({"network": path, "gaussian": path, "mixture": path, "data_set": path})) < 2 * BUDGET


def entry(name: str, verdict: str, **numbers: Any) -> dict[str, Any]:
    """An entry of metrics.json with one criterion where there are numbers."""
    about = named(name)
    criterion = Criterion(
        "flatness", Interval(0.9, 0.8, 1.0), "at least 0.5", verdict == "agrees", controls=("untrained",)
    )
    return {
        **{key: getattr(about, key) for key in ("title", "claim", "published", "criterion")},
        "verdict": verdict,
        "sentence": f"It {verdict} <here>.",
        "criteria": [criterion.to_json()] if numbers else [],
        "notes": ["A further <note>."],
        "numbers": numbers,
        "error": "",
        "seconds": 1.0,
    }


def earlier_entry(name: str, verdict: str, **numbers: Any) -> dict[str, Any]:
    """An entry as earlier versions wrote it: one text, no criteria."""
    new = entry(name, verdict, **numbers)
    old = {key: value for key, value in new.items() if key not in ("sentence", "criteria", "notes", "error")}
    return {**old, "found": "It fell. Controls fall as well (untrained): it takes no learning."}


JUDGED = {
    "short": verdicts.Judgements(
        {"A1": entry("A1", "agrees", two_components={"network": [0.9, 0.8, 0.95]}), "A8": entry("A8", "agrees")},
        "its report",
    ),
    "a run of a longer name": verdicts.Judgements(
        {"A1": earlier_entry("A1", "differs", two_components={"network": [0.5, 0.4, 0.6]})},
        "its report",
        "the run is at step 9 now",
    ),
    "third": verdicts.Judgements({"A1": entry("A1", "not measured")}, verdicts.UNKNOWN),
}


@pytest.mark.slow
def test_runs_side_by_side_are_a_page_that_fits(tmp_path):
    picture = drawing.drawn(panels(4)[0], "png")
    text = page(
        Table("Runs", "A note.", ["run", "step"], [[name, "5"] for name in JUDGED]), picture, picture, JUDGED, True
    )
    assert "Stale: the run is at step 9 now" in text
    assert text.count('<tr class="different">') == 1, "the runs differ on A1, and on nothing else"
    assert "&lt;here&gt;" in text
    assert "<here>" not in text
    assert "It fell. Controls fall as well" in text
    assert "<th>criterion</th><th>short</th><th>a run of a longer name</th><th>third</th><th>expected</th>" in text
    seen = [browse(text, tmp_path, width, dark) for width, dark in ((1000, False), (360, True))]
    for each in seen:
        check(each)
    assert seen[0]["colours"] != seen[1]["colours"]


def test_verdicts_side_by_side_give_the_headline_of_each_run_and_say_where_they_differ():
    (first,), (second,), (third,) = ([row[i] for row in verdicts.table(JUDGED).rows[:1]] for i in (1, 2, 3))
    assert (first, second) == ("agrees 0.9 (0.8 to 0.95)", "differs 0.5 (0.4 to 0.6)")
    assert third == "not measured –"
    assert verdicts.shown(JUDGED) == ["A1", "A8"]
    assert verdicts.sentence(JUDGED) == "Of 1 claim measured on every run: the verdicts differ on A1."
    most = verdicts.cell(
        entry("D9", "agrees", distance_share_of_edm={"GITS, network": [[3, 2, 4], [0.5, 0.4, 0.6]]}), "D9"
    )
    assert most == ("agrees", "0.5 (0.4 to 0.6)")
    assert verdicts.cell(entry("A8", "agrees", order_correlation=[0.5, None, None]), "A8") == ("agrees", "0.5")


def bare_study(results: tuple[Result, ...] = ()) -> study.Study:
    """A study of exact models, with what was found."""
    setting = exact_setting(starts=3, steps=8)
    samples = {name: path.samples for name, path in setting.paths.items()}
    return study.Study(
        settings=study.Settings(starts=3, steps=8),
        config=training.Config(seed=11, objective="flow"),
        step=7,
        setting=setting,
        experiments=tuple(result.experiment for result in results),
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
    text = report_page(bare, {})
    assert "after 7 training steps" in text
    assert "pixels run from" in text
    assert "$" not in re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert "No claim was measured." in text
    assert metrics(bare)["experiments"] == {}


CRITERIA = (
    Criterion("fraction in two components", Interval(0.987, 0.98, 0.99), "at least 0.5", True, controls=("untrained",)),
    Criterion("distance of <it>", 0.25, "at most 0.1", np.bool_(False), note="By hand it is 3."),
    Criterion("paths", 1200, "any", None),
)


def result(numbers: dict[str, Any]) -> Result:
    """A1, with these numbers and some criteria."""
    return Result(named("A1"), Finding("Two hold 98.7% & more.", CRITERIA, numbers, ("A note.",)), None, None, 2.5)


@pytest.mark.slow
def test_a_claim_is_a_heading_a_sentence_a_table_and_a_figure_and_all_else_is_folded():
    text = claims.section("A1", {"": result({"x": 1}).to_json()}, claims.picture("Flat", "What it shows.", b"png"))
    folded = "".join(re.findall(r"<details>.*?</details>", text, re.DOTALL))
    shown = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert '<h2>One path is nearly flat <span class="verdict agrees-in-part">agrees in part</span></h2>' in shown
    assert '<p class="finding">Two hold 98.7% &amp; more.</p>' in shown
    rows = [re.findall(r"<t[dh]>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>.*?</tr>", shown)]
    assert rows == [
        ["criterion", "measured", "expected"],
        ["fraction in two components", "✓ 0.987 (0.98 to 0.99)", "at least 0.5"],
        ["distance of &lt;it&gt;", "✗ 0.25", "at most 0.1"],
        ["paths", "· 1,200", "any"],
    ]
    assert "What it shows." in shown
    about = named("A1")
    for part in (about.claim, about.published, about.criterion, "By hand it is 3.", "A note.", "takes no learning"):
        assert html.escape(part) in folded
        assert html.escape(part) not in shown


@pytest.mark.slow
def test_what_failed_and_what_was_not_measured_have_marks_and_reasons_of_their_own(capsys):
    lacking = Result(named("A3"), None, None, None, 1.0, reason="Data of 2 dimensions have no order.")
    faulty = failed(named("A8"), "Traceback (most recent call last):\n  ...\nTypeError: 3 < x", 1.0)
    assert "A8 failed:\nTraceback" in capsys.readouterr().err
    text = report_page(bare_study((lacking, faulty)), {})
    assert text.count('<span class="verdict not-measured">not measured</span>') == 2
    assert text.count('<span class="verdict failed">failed</span>') == 2
    assert '<p class="finding">Data of 2 dimensions have no order.</p>' in text
    assert "says nothing of the claim: TypeError: 3 &lt; x</p>" in text
    assert "<summary>The error in full</summary>" in text
    assert "Of 2 claims of the literature, measured on this run, 1 could not be measured, 1 failed." in text


@pytest.mark.slow
def test_a_page_of_a_report_that_goes_on_says_what_is_to_come(tmp_path):
    growing = dataclasses.replace(bare_study((result({"x": 1}),)), experiments=tuple(map(named, ("A1", "A3", "D1"))))
    text = report_page(growing, {})
    assert "<strong>Still running.</strong> 1 of 3 experiments have run; still to come: A3, D1." in text
    assert 'onclick="location.reload()"' in text
    check_slider(browse(text, tmp_path, 360, dark=False))
    stopped = report_page(growing, {}, interrupted=True)
    assert "<strong>Interrupted.</strong> 1 of 3 experiments have run, not A3, D1." in stopped
    finished = report_page(dataclasses.replace(growing, experiments=(named("A1"),)), {})
    assert not re.search("Still running|Interrupted|location.reload", finished)


def dots(x: np.ndarray):
    """A figure of points."""
    figure, (axis,) = panels(1)
    axis.plot(x, x, "o")
    return figure


def no_figure(_):
    raise ZeroDivisionError("no width")


class Unsendable:
    """What no other process can be sent."""

    def __reduce__(self):
        raise TypeError("stays here")

    def __array__(self, *_, **__):
        return np.arange(3.0)


@pytest.mark.slow
def test_figures_are_drawn_in_a_second_process_and_here_where_that_cannot_be(capsys):
    drawn = {}
    for aside in (True, False):
        with drawing.Drawer(aside) as drawer:
            drawer.begin("dots", dots, np.arange(3.0))
            drawer.begin("fault", no_figure, np.arange(3.0))
            if aside:
                drawer.begin("unsendable", dots, Unsendable())
            drawn[aside] = drawer.drawn("dots")
            with pytest.raises(drawing.DrawingError, match=r"Traceback(.|\n)*ZeroDivisionError: no width"):
                drawer.drawn("fault")
            assert drawn[aside] == drawer.ready()["dots"]
            assert "fault" not in drawer.ready()
            if aside:
                assert drawer.drawn("unsendable")["png"] == drawn[True]["png"]
    assert drawn[True]["png"] == drawn[False]["png"]
    assert drawn[True]["pdf"].startswith(b"%PDF")
    errors = capsys.readouterr().err
    assert errors.count("drawn without a second process") == 1
    assert "figure unsendable: drawn without a second process (TypeError('stays here'))" in errors


@pytest.mark.slow
def test_figures_are_drawn_here_when_the_second_process_dies(capsys):
    with drawing.Drawer(aside=True) as drawer:
        drawer.begin("dies", dies, np.arange(3.0), os.getpid())
        assert drawer.drawn("dies")["png"].startswith(b"\x89PNG")
        drawer.begin("later", dots, np.arange(3.0))
        assert drawer.drawn("later")["png"].startswith(b"\x89PNG")
    assert capsys.readouterr().err.count("drawn without a second process") == 2


def dies(x: np.ndarray, here: int):
    if os.getpid() != here:
        os._exit(3)
    return dots(x)


@pytest.mark.slow
def test_a_page_holds_numbers_as_json_does_and_how_the_run_was_made(tmp_path):
    unknown, curves = [0.5, float("nan"), float("nan")], [[1.0, 0.123456], [2.0, 3.0]]
    a1 = result({"two_components": {"network": unknown}, "curves": curves, "count": 3})
    text = report_page(bare_study((a1,)), {"trajectories": files(), "samples": files()})
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


def files() -> drawing.Drawing:
    return drawing.files(panels(4)[0])


@pytest.mark.parametrize("images", [True, False])
def test_the_terms_of_a_page_have_every_model_that_figures_name(images):
    text = words.words(images)
    terms = ", ".join(re.findall(r"<dt>([^<]*)</dt>", text))
    assert [name for key, name in NAMES.items() if key not in ("network", "real") and name not in terms] == []
    assert {"Fréchet distance", "fine solution"} <= set(terms.split(", "))
    assert "$" not in text
    assert ("the average image" in text, "the average point" in text) == (images, not images)
