"""Images that Pillow reads but does not write, byte by byte from the formats' specifications: deep PNG and TIFF."""

import struct
import zlib
from pathlib import Path

import numpy as np


def png(path: Path, x: np.ndarray, color: int) -> None:
    """Write x (H, W) or (H, W, C), uint8 or uint16, with color 0 grey, 2 RGB, 4 grey and alpha, 6 RGB and alpha."""
    rows = b"".join(b"\0" + row.astype(x.dtype.newbyteorder(">")).tobytes() for row in x)
    header = struct.pack(">IIBBBBB", x.shape[1], x.shape[0], 8 * x.dtype.itemsize, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*each) for each in chunks))


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def tiff(path: Path, x: np.ndarray, photometric: int, kind: int) -> None:
    """Write x (H, W) or (H, W, 3).

    photometric: 0 white is 0, 1 black is 0, 2 RGB. kind: 1 unsigned, 2 signed, 3 floating-point.
    """
    channels, pixels = x.size // (x.shape[0] * x.shape[1]), np.ascontiguousarray(x).tobytes()
    many = struct.pack(f"<{2 * channels}H", *[8 * x.dtype.itemsize] * channels, *[kind] * channels)
    first = 8 + len(pixels)  # where the numbers of several channels lie
    bits, kinds = (first, first + 2 * channels) if channels > 1 else (8 * x.dtype.itemsize, kind)
    tags = [
        (256, 4, 1, x.shape[1]),
        (257, 4, 1, x.shape[0]),
        (258, 3, channels, bits),
        (259, 3, 1, 1),
        (262, 3, 1, photometric),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, x.shape[0]),
        (279, 4, 1, len(pixels)),
        (339, 3, channels, kinds),
    ]
    table = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4)
    path.write_bytes(b"II*\0" + struct.pack("<I", first + len(many)) + pixels + many + table)
