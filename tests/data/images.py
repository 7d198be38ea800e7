"""Small image files for tests."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

RNG = np.random.default_rng(11)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def png(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def save(path: Path, *shape: int) -> np.ndarray:
    """A PNG file of random pixels, which are returned."""
    array = pixels(*(shape or (6, 5)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(array))
    return array


def pack(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    """A tar archive of files and, where a name ends in a slash, folders."""
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members.items():
            member = tarfile.TarInfo(name.removesuffix("/"))
            member.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path
