"""What the programs `python -m training` and `python -m analysis` share: options of both, and their error contract.

exit code 0: done        1: done, but for what the command says has failed
          2: an error that the user can mend, with a message        130: interrupted
"""

import sys
import warnings
from collections.abc import Callable
from io import TextIOWrapper

import jax

from training import cache

NO_CACHE = "--no-cache"
OPTIONS = f"With {NO_CACHE}, before or after the command, no compiled code is kept for the next run."


def run(
    parse: Callable[[list[str]], Callable[[], int | None]],
    arguments: list[str],
    *,
    interrupted: str,
    memory_cure: str,
) -> int:
    """Run the command that `parse(arguments)` returns, and return the exit code, which is 0 where it returns none.

    interrupted: what to say of a Ctrl-C without a message of its own. memory_cure: what makes a command need less.
    """
    if isinstance(sys.stdout, TextIOWrapper):  # names of files may be any bytes; stderr prints them already
        sys.stdout.reconfigure(errors="backslashreplace")
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        command = parse([argument for argument in arguments if argument != NO_CACHE])
        cache.enable(NO_CACHE not in arguments)
        code = command()
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"error: the host has too little memory ({error}); {memory_cure}", file=sys.stderr)
        return 2
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print(f"error: the device has too little memory ({error}); {memory_cure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as error:
        print(str(error) or interrupted, file=sys.stderr)
        return 130
    return code or 0
