"""How much memory images may take."""

from __future__ import annotations

import os
from pathlib import Path

# Where the system does not say how much memory there is.
_UNKNOWN = 4 << 30
_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def memory_for_images() -> int:
    """A quarter of the memory that this process may use, bytes."""
    return min(_physical(), *_group_limits(_GROUP_LIMITS)) // 4


def at_once(nbytes: int) -> bool:
    """Whether copies of images that take so many bytes may be made in one go, and not batch by batch: half of that."""
    return nbytes <= memory_for_images() // 2


def _physical() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return _UNKNOWN


def _group_limits(files: tuple[str, ...]) -> list[int]:
    """The limits of the control group that a container sees as its own; "max" stands for none."""
    found = [1 << 62]
    for file in files:
        try:
            found.append(int(Path(file).read_text()))
        except (OSError, ValueError):
            continue
    return found
