"""One image in a file, judged by the file: what bytes of grey or RGB do not hold is refused, never cut off.

Decoded, an image of 16 bits per channel looks like one of 8, and an animation like its first frame.
"""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageOps, PpmImagePlugin, TiffImagePlugin, UnidentifiedImageError

from gaussdiff import archives

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM")  # no others: of EPS, for one, Pillow runs the program inside
GREY = frozenset({"1", "L", "LA", "La"})
BITS_PER_SAMPLE, SAMPLE_FORMAT = 258, 339  # tags of TIFF
TO_SRGB = (  # from a profile, the image
    "from PIL import ImageCms as cms; image = PIL.Image.open(path); "
    "cms.profileToProfile({1}, {0}, cms.createProfile('sRGB'), outputMode='RGB').save(path)"
)


def warn_of_profiles(profiled: list[Path], count: int) -> None:
    """Say which of so many images have colours of another profile than sRGB."""
    if profiled:
        open_profile = "cms.getOpenProfile(io.BytesIO(image.info['icc_profile']))"
        rgb = "image.convert('RGB')"
        warnings.warn(
            f"data: {len(profiled)} of {count} images have a colour profile other than sRGB, the first is "
            f"{shown(profiled[0])}; their numbers are taken as they are, so that their colours differ from those of "
            f"the others; convert such files: {TO_SRGB.format(open_profile, rgb)}",
            stacklevel=2,
        )


class Looked(NamedTuple):
    """What the header of a file says: whether it holds one channel, and whether its colours are others than sRGB."""

    grey: bool
    profiled: bool


def look(path: Path) -> Looked:
    """ValueError, with what converts the file, for what bytes of grey or RGB do not hold."""
    with _opened(path) as image:
        problem = _problem(image)
        grey = _is_grey_palette(image) if image.mode in ("P", "PA") else image.mode in GREY
        looked = Looked(grey, _is_profiled(image.info.get("icc_profile") or b""))
    if problem:
        what, cure = problem
        raise ValueError(
            f"data: expected one image of grey or RGB with 8 bits per channel, got {what} in {shown(path)}; {cure}"
        )
    return looked


def _is_profiled(profile: bytes) -> bool:
    """Whether it is a colour profile of RGB that is not called sRGB, in either way of writing names in profiles."""
    return profile[16:20] == b"RGB " and b"sRGB" not in profile and "sRGB".encode("utf-16-be") not in profile


def _is_grey_palette(image: Image.Image) -> bool:
    colors = np.reshape(image.getpalette("RGB") or [], (-1, 3))
    return bool((colors == colors[:, :1]).all())


def _problem(image: Image.Image) -> tuple[str, str] | None:
    """What the file holds that would be lost or changed, and how to convert it knowingly; None: nothing."""
    bits, unsigned = _depth(image)
    to_bytes = "convert such files: PIL.Image.fromarray(np.round({}).astype(np.uint8)).save(path)"
    convert = "convert such files: PIL.Image.open(path).convert({!r}).save(path)"
    if image.mode == "F" or (image.mode.startswith("I") and not unsigned):
        span = to_bytes.format("255 * (x - x.min()) / max(np.ptp(x), 1e-9)")
        return "signed or floating-point numbers", span.replace(": ", ": x = np.float64(PIL.Image.open(path)); ", 1)
    if bits > 16 or not unsigned:
        return f"{'un' if unsigned else ''}signed numbers of {bits} bits", "give an .npy of floats in [-1, 1] instead"
    if bits > 8:
        # Pillow takes a single deep channel to 16 bits and every other one, by the upper 8 bits, to 8.
        single = to_bytes.format("np.asarray(PIL.Image.open(path)) / 257")
        is_grey = image.mode in GREY or _raw(image).startswith("L")
        eight = convert.format("L" if is_grey else "RGB")
        return f"{bits} bits per channel", single if image.mode.startswith("I") else eight
    if image.mode == "CMYK":
        return "inks (CMYK)", convert.format("RGB")
    if image.mode == "LAB":
        return "colours in CIELAB", "convert such files: " + TO_SRGB.format("cms.createProfile('LAB')", "image")
    if image.format != "MPO" and (pages := getattr(image, "n_frames", 1)) > 1:  # an MPO is a photo with its previews
        return f"{pages} pages", "keep the first: PIL.Image.open(path).copy().save(path)"
    return None


def _depth(image: Image.Image) -> tuple[int, bool]:
    """Bits per channel as the file states them, and whether they are unsigned integers."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags: Any = image.tag_v2
        return max(tags.get(BITS_PER_SAMPLE, (1,))), set(tags.get(SAMPLE_FORMAT, (1,))) <= {1, 4}  # 4: undefined
    if isinstance(image, PpmImagePlugin.PpmImageFile):
        (_, _, _, arguments), *_ = image.tile
        most = arguments[1] if isinstance(arguments, tuple) else 65535 if image.mode.startswith("I") else 255
        return int(most).bit_length(), True
    return (16 if ";16" in _raw(image) else 8), True


def _raw(image: Image.Image) -> str:
    """How the channels lie in the file, as Pillow calls it: of a PNG of 3 x 16 bits "RGB;16B"."""
    (_, _, _, arguments), *_ = getattr(image, "tile", None) or [(None, None, None, "")]
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Give the image in a file; ValueError where it is none, is damaged, or has more pixels than Pillow takes."""
    try:
        with archives.parsing(path), archives.opened(path) as file, _identified(file) as image:
            yield image
    except archives.UnreadableError as error:
        raise _unreadable(path, error.reason) from error


def _identified(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ValueError(f"cannot identify it as {', '.join(FORMATS)}") from error


def decode(path: Path, mode: str, size: int | None) -> np.ndarray:
    """The pixels of an image, upright, in Pillow's mode "L" or "RGB", cropped and resized to the side `size`."""
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image).convert(mode)
    return np.asarray(upright if size is None else ImageOps.fit(upright, (size, size), Image.Resampling.LANCZOS))


def shown(path: Path | str) -> str:
    """A path as it can be printed anywhere, whatever bytes are in it."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _unreadable(path: Path, reason: str) -> ValueError:
    return ValueError(
        f"data: expected an image, got {shown(path)}, which cannot be read ({reason}); replace or remove it"
    )
