"""Run every benchmark and print one table; --write stores it in benchmarks/RESULTS.md."""

import argparse
import os
import time

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # before jax: leave memory to others

from benchmarks import empirical, exact, growth, mixture, neighbours, network, sampling, streamed, training_loop
from benchmarks.timing import machine, table

HEAD = """# Benchmarks

Written by `python -m benchmarks --write`. Every line sets a measured thing beside a peer or a limit that took turns
with it in the same run. Times are medians and the ratio is the median over turns, since machines do other work too; a
ratio below 1 is faster than the peer.
"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--write", action="store_true", help="store the table in benchmarks/RESULTS.md")
    options = parser.parse_args()
    rows, started = [], time.perf_counter()
    for part in (sampling, exact, empirical, neighbours, mixture, streamed, training_loop, network):
        rows += part.run()
        print(f"{part.__name__.split('.')[-1]}: done after {time.perf_counter() - started:.0f} s", flush=True)
    text = f"{HEAD}\nMachine: {machine()}.\n\n{table(rows)}\n"
    curves = growth.run()
    print(f"\n{text}\n{growth.section(curves)}")
    if options.write:
        growth.RESULTS.write_text(text)
        growth.write(curves)


if __name__ == "__main__":
    main()
