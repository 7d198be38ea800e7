"""Image files, read by Pillow: untrusted bytes in, arrays or one clear error out."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vecgrad.data._preparation import Preparation
from vecgrad.spec.errors import DataError

# The decoders that are let near a file. Pillow knows some forty more, among them ones that start
# other programs.
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".pbm", ".pgm", ".ppm", ".pnm", ".webp"}
)
# Images by their names whose decoders stay away: TIFF and JPEG 2000 with their many codecs, cameras' raw files …
FOREIGN = frozenset(
    {".tif", ".tiff", ".gif", ".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".avif", ".heic", ".heif", ".hif"}
    | {".apng", ".dib", ".ico", ".tga", ".psd", ".pcx", ".pfm", ".qoi", ".dds", ".exr", ".hdr", ".svg"}
    | {".dcm", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".xbm", ".xpm"}
)
# EXIF's tag for how the camera was held, and its values for pictures that lie on their side.
_ORIENTATION, _LYING = 0x0112, range(5, 9)
# Pillow's own limit (256 MiB of 24-bit pixels), fixed here because programs switch Pillow's off.
MOST_PIXELS = 256 * 1024 * 1024 // 3


class _OneFilter:
    """Pillow's warning about large images as an error, for the length of a ``with`` statement.

    Warning filters belong to the whole process, so threads that read at the same time share one change of them: the
    first makes it and the last takes it back. Whoever reads many images holds it around them all.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._change = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if not self._readers:
                warning = _pillow("images").DecompressionBombWarning
                self._change = warnings.catch_warnings()
                self._change.__enter__()
                warnings.simplefilter("error", warning)
            self._readers += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._readers -= 1
            if not self._readers:
                self._change.__exit__(None, None, None)


bombs_refused = _OneFilter()


def prepare_file(path: str | os.PathLike[str], preparation: Preparation) -> NDArray[np.float32]:
    """The network's input for one image file: float32 (H, W, C).

    The file is turned upright (EXIF), laid on white where it is transparent, made grey or colour,
    resized (antialiased, stretched to the size), inverted where the preparation says so, brought to
    the numbers that the training arrays hold, and normalised as they are. A training image written
    without loss as 8-bit PNG comes back as exactly what its array is prepared to.

    Raises DataError for a file that is missing, damaged, no image, or too large.
    """
    height, width, channels = preparation.shape
    pixels, white = read_image(path, channels=channels, size=(height, width))
    brightness = pixels.astype(np.float64) / white
    if preparation.inverts(brightness):
        brightness = 1.0 - brightness
    raw = brightness * preparation.scale
    # Scans of 17 grey levels, say, are met with the same 17 levels, so the 8 bits in between leave no trace.
    if preparation.whole_numbers:
        raw = np.rint(raw)
    return preparation.arrays(raw[np.newaxis], what=os.fspath(path)).reshape(preparation.shape)


def read_image(
    source: str | os.PathLike[str] | BinaryIO,
    *,
    channels: int | None = None,
    size: tuple[int, int] | None = None,
    what: str | None = None,
) -> tuple[NDArray[Any], int]:
    """(pixels (h, w, c), the number that means white: 255, or 65535 for 16-bit grey).

    ``channels`` 1 makes it grey (ITU-R 601 luma), 3 colour, None keeps what the file has; ``size``
    (height, width) resizes it. ``source`` is a path or an open binary file, ``what`` its name in errors.
    """
    name = what or (os.fspath(source) if isinstance(source, (str, os.PathLike)) else "image")
    if channels not in (1, 3, None):
        raise DataError(
            f"{name}: an image file gives 1 channel (grey) or 3 (colour); the network takes {channels}"
        )
    with _file(source, name) as image:
        return _pixels(image, channels, size, name)


def image_size(source: str | os.PathLike[str] | BinaryIO, *, what: str) -> tuple[int, int]:
    """(height, width) of the image when it stands upright, from the file's header. Errors as of ``read_image``."""
    with _file(source, what) as image:
        height, width = image.height, image.width
        return (width, height) if image.getexif().get(_ORIENTATION, 1) in _LYING else (height, width)


@contextmanager
def _file(source: str | os.PathLike[str] | BinaryIO, name: str) -> Iterator[Any]:
    """The open file, nothing of it decoded; whatever goes wrong here or with it becomes one DataError."""
    Image = _pillow(name)
    try:
        # Not left to the opening: a pipe would be waited for, and a folder called damaged.
        if isinstance(source, (str, os.PathLike)) and not Path(source).is_file():
            raise DataError(f"{name}: there is no such file; expected an image ({', '.join(FORMATS)})")
        with _opened(Image, source) as image:
            pixels = image.width * image.height
            if pixels > MOST_PIXELS:
                raise DataError(
                    f"{name}: {image.width} × {image.height} pixels; at most {MOST_PIXELS:,} are read"
                )
            yield image
    except DataError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError(f"{name}: {_one_line(error)} At most {MOST_PIXELS:,} are read") from error
    except Image.UnidentifiedImageError as error:
        raise DataError(f"{name}: not an image that can be read; expected {', '.join(FORMATS)}") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise DataError(f"{name}: cannot be read: {error.strerror}") from error
        # Pillow's decoders raise whatever the damage leads them to (OSError, SyntaxError, struct.error,
        # IndexError, zlib.error …); to the user it is one thing.
        raise DataError(f"{name}: damaged image ({_one_line(error)}); get a good copy of the file") from error


def _pillow(name: str) -> ModuleType:
    try:
        from PIL import Image
    except ImportError as error:
        raise DataError(f"{name}: reading image files needs Pillow: pip install pillow") from error
    return Image


def _opened(Image: Any, source: Any) -> Any:
    """The file's header. Pillow's warning about large images becomes an error, so that it is one line."""
    with bombs_refused:
        return Image.open(source, formats=FORMATS)


def _pixels(
    image: Any, channels: int | None, size: tuple[int, int] | None, name: str
) -> tuple[NDArray[Any], int]:
    Image = _pillow(name)
    image.load()
    if image.getexif().get(_ORIENTATION, 1) != 1:
        from PIL import ImageOps

        ImageOps.exif_transpose(image, in_place=True)
    deep = image.mode.startswith("I")
    if deep:
        # 16-bit grey. "F" is the one mode in which Pillow resizes it, and float32 holds all of 0 … 65535.
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    else:
        image = _flat(Image, image, channels, name)
    if size is not None and image.size != size[::-1]:
        image = image.resize(size[::-1], Image.Resampling.BILINEAR)
    pixels = np.array(image)
    if pixels.ndim == 2:
        pixels = pixels[..., np.newaxis]
    if deep:
        pixels = np.rint(pixels).astype(np.uint16)
        if channels == 3:
            pixels = np.repeat(pixels, 3, axis=-1)
    return pixels, 65535 if deep else 255


def _flat(Image: Any, image: Any, channels: int | None, name: str) -> Any:
    """An 8-bit image without transparency: mode "L" or "RGB"."""
    if image.mode == "F":
        raise DataError(f"{name}: pixels are floating-point numbers; expected 8 or 16 bits a channel")
    grey = image.mode in ("1", "L", "LA", "La")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if not grey:
        # Other modes (palette, CMYK …) reach grey by way of RGB.
        image = _converted(image, "RGB")
    if channels is not None:
        grey = channels == 1
    return _converted(image, "L" if grey else "RGB")


def _converted(image: Any, mode: str) -> Any:
    # Pillow copies an image that has the mode already.
    return image if image.mode == mode else image.convert(mode)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
