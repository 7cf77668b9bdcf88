"""Figures as files, drawn in a process of their own while the program goes on measuring."""

import io
import multiprocessing
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from typing import Any

import jax
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.figure import Figure

Drawing = Mapping[str, bytes]  # a figure's files by kind: "png", and "pdf" for print


class DrawingError(Exception):
    """A figure could not be drawn; the message is the traceback."""


class Drawer:
    """Draws figures one after the other; a context, which ends the second process.

    aside: draw in a second process. It is spawned, since a fork would copy the locks of JAX's threads, so it imports
    the program's main file anew. Where it cannot be had, or cannot be sent what is to be drawn, figures are drawn here.
    """

    def __init__(self, aside: bool):
        spawn = multiprocessing.get_context("spawn")
        x64 = bool(jax.config.read("jax_enable_x64"))
        self._process = ProcessPoolExecutor(1, spawn, initializer=_begin, initargs=(x64,)) if aside else None
        self._jobs: dict[str, Callable[[], Drawing | str]] = {}
        self._elsewhere: dict[str, Future[Drawing | str]] = {}
        self._made: dict[str, Drawing | str] = {}

    def __enter__(self) -> "Drawer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.shutdown(wait=False, cancel_futures=True)

    def begin(self, name: str, draw: Callable[..., Figure], *what: Any) -> None:
        """Begin to draw the figure `name`: `draw` of these arrays."""
        self._jobs[name] = job = partial(_attempt, draw, *what)
        if self._process is None:
            return
        try:
            self._elsewhere[name] = self._process.submit(job)
        except (OSError, RuntimeError) as error:  # no process can be had, or it has died
            _say_here(name, error)

    def begun(self, name: str) -> bool:
        """Whether that figure was begun."""
        return name in self._jobs

    def ready(self) -> dict[str, Drawing]:
        """The figures that are drawn by now."""
        return {name: made for name in self._jobs if isinstance(made := self._finished(name, wait=False), Mapping)}

    def drawn(self, name: str) -> Drawing:
        """The figure, as soon as it is drawn; DrawingError where it cannot be."""
        made = self._finished(name, wait=True)
        if isinstance(made, str):
            raise DrawingError(made)
        assert made is not None
        return made

    def _finished(self, name: str, wait: bool) -> Drawing | str | None:
        if name not in self._made:
            made = self._received(name, wait) if name in self._elsewhere else self._jobs[name]()
            if made is None:
                return None
            self._made[name] = made
        return self._made[name]

    def _received(self, name: str, wait: bool) -> Drawing | str | None:
        future = self._elsewhere[name]
        if not (wait or future.done()):
            return None
        try:
            return future.result()
        except Exception as error:  # of the process or of what was sent to it: faults of a figure come as text
            _say_here(name, error)
        return self._jobs[name]()


def _say_here(name: str, error: Exception) -> None:
    print(f"figure {name}: drawn without a second process ({error!r})", file=sys.stderr, flush=True)


def _begin(x64: bool) -> None:
    """The second process: it leaves accelerators alone, and Ctrl-C to the first one."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", x64)


def _attempt(draw: Callable[..., Figure], *what: Any) -> Drawing | str:
    """The files of a figure, or the traceback of the fault that it met."""
    try:
        return files(draw(*what))
    except Exception:
        return traceback.format_exc()


def files(figure: Figure) -> Drawing:
    """The figure as PNG, and as PDF for print."""
    return {kind: drawn(figure, kind) for kind in CANVASES}


CANVASES = {"png": FigureCanvasAgg, "pdf": FigureCanvasPdf}


def drawn(figure: Figure, kind: str) -> bytes:
    """The figure as a file of this kind: "png" or "pdf"."""
    buffer = io.BytesIO()
    CANVASES[kind](figure).print_figure(buffer, format=kind, dpi=130, facecolor="white")
    figure.set_layout_engine("none")  # done: a second kind of file keeps it, in half the time
    return buffer.getvalue()
