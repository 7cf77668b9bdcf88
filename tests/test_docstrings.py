"""The examples in docstrings run and print what they say, as users run them: in float32, in a process of their own."""

import os
import subprocess
import sys

RUN = """
import doctest, importlib, pkgutil
import jax
import gaussdiff as gd

finder, runner = doctest.DocTestFinder(exclude_empty=True), doctest.DocTestRunner()
for module in pkgutil.walk_packages(gd.__path__, "gaussdiff."):
    for test in finder.find(importlib.import_module(module.name), globs={"gd": gd, "jax": jax}):
        if test.examples:
            runner.run(test)
            print("example of", test.name)
raise SystemExit(runner.failures)
"""
EXAMPLES = 6


def test_examples_print_what_they_say():
    plain = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run([sys.executable, "-c", RUN], capture_output=True, text=True, timeout=600, env=plain)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("example of") >= EXAMPLES, done.stdout
