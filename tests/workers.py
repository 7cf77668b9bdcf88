"""A plugin of pytest: how a worker of pytest-xdist ended that did not end as it should.

pytest-xdist says during which test. What the process itself had to say reaches the screen because pyproject.toml asks
for --capture=sys: pytest's usual capture keeps it in a file that dies with the process.
"""

import signal
import subprocess

import pytest


def cause(status: int | None) -> str:
    """Return in words what the exit status of a process means; None: it has not ended."""
    if status is None:
        return "it closed its pipe and still runs"
    if status >= 0:
        return f"exit status {status}; its last words, if it had any, stand above"
    name = signal.Signals(-status).name
    if name == "SIGKILL":
        return "SIGKILL, most often for want of memory: call pytest with fewer workers, such as -n 1"
    return f"{name}; its last words and where it was stand above"


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist there are no workers
def pytest_testnodedown(node, error):
    if error is None:
        return
    process = node.gateway._io.popen  # neither xdist nor execnet has a public way to the status
    try:
        status = process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        status = None
    reporter = node.config.pluginmanager.getplugin("terminalreporter")
    reporter.write_line(f"worker {node.gateway.id} ended by {cause(status)}")
