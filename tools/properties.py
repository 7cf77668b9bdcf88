"""Counts the suite's properties: its test functions, each with the cases it runs over, by file.

    python tools/properties.py                    all of them
    python tools/properties.py -m 'not slow'      those that pytest would run with these arguments

A property is what one test function states, however many cases it runs over.
"""

import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> None:
    collect = [sys.executable, "-m", "pytest", "-o", "addopts=", "--collect-only", "-q", *sys.argv[1:]]
    output = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True)
    if output.returncode:
        sys.exit(output.stdout + output.stderr)
    tests = [line for line in output.stdout.splitlines() if line.startswith("tests/") and "::" in line]
    cases = Counter(test.split("::")[0] for test in tests)
    properties = Counter(name.split("::")[0] for name in {test.split("[")[0] for test in tests})
    print(f"{'properties':>10} {'cases':>6}  file")
    for file in sorted(cases):
        print(f"{properties[file]:>10} {cases[file]:>6}  {file.removeprefix('tests/')}")
    print(f"{properties.total():>10} {cases.total():>6}  in {len(cases)} files")


if __name__ == "__main__":
    main()
