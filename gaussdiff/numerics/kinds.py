"""What kind of thing an argument is: the words for it in an error, and the check that it is what was expected."""

import functools
import inspect

import numpy as np


def described(value) -> str:
    """A value in the words of an error: itself where it is short, otherwise its class, its shape and dtype."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if _is_plain(value) or (isinstance(value, list | tuple) and all(map(_is_plain, value))):
        return repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    if isinstance(value, list | tuple | dict | set):
        return f"a {type(value).__name__} of {len(value)}"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"an array of {value.dtype}, shape {tuple(value.shape)}"
    if inspect.isroutine(value) or isinstance(value, functools.partial):
        return f"the function {getattr(value, '__name__', 'partial')}"
    return type(value).__name__


def _is_plain(value) -> bool:
    return value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic)


def check_kind(value, kind, argument: str, expected: str, cure: str) -> None:
    """TypeError unless value is an instance of `kind`, a class or a union of classes, called `expected`."""
    if isinstance(value, kind):
        return
    if isinstance(value, type) and issubclass(value, kind):
        cure = f"Call the class to make one: {value.__name__}(...)."
    raise TypeError(f"{argument}: expected {expected}, got {described(value)}. {cure}")
