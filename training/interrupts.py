"""Ctrl-C and SIGTERM, answered at once at any time and never raised in the middle of a step.

Python calls a handler between two instructions of the main thread, so not before a compilation has ended, and the
KeyboardInterrupt of the usual handler is lost inside a callback. Here a thread that waits for signals answers.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def first(answer: Callable[[], None]) -> Iterator[None]:
    """Call `answer` in a thread of its own on the first Ctrl-C or SIGTERM; a second one acts as it did before."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)

    def listen() -> None:
        answered = False
        while number := ear.recv(1):
            if number[0] in SIGNALS and not answered:
                answered = True
                answer()
            elif wakeup != -1:
                os.write(wakeup, number)

    def as_before(*_: object) -> None:
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)

    wakeup = signal.set_wakeup_fd(mouth.fileno())
    handlers = {number: signal.signal(number, as_before) for number in SIGNALS}
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        as_before()
        mouth.close()
        thread.join()
        ear.close()


def leave() -> None:
    """End the process at once, with exit code 130 and a line that says so."""
    fresh_line = b"\x1b[?25h\n" if os.isatty(2) else b""  # a progress bar hides the cursor
    os.write(2, fresh_line + b"interrupted; the same command begins again, or continues what was saved\n")
    os._exit(130)


@contextmanager
def noted() -> Iterator[threading.Event]:
    """Give an event that the first Ctrl-C or SIGTERM sets, for the loop to stop at.

    An exception in the middle of a step would lose the state that the step has consumed.
    """
    asked = threading.Event()

    def answer() -> None:
        asked.set()
        print("stopping soon, and saving; while compiling that may take half a minute", file=sys.stderr, flush=True)

    with first(answer):
        yield asked
