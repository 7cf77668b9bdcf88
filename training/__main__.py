"""The program: python -m training train|sample|evaluate|export --help."""

import sys

from training import interrupts

if __name__ == "__main__":
    with interrupts.first(interrupts.leave):
        from training.commands import main  # imports jax, which takes seconds

        sys.exit(main(sys.argv[1:]))
