"""How many processors this process may use: its affinity, and the quota of its control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def processors(root: Path = _ROOT, membership: Path = _MEMBERSHIP) -> int:
    """Processors in the affinity mask, or the CPU quota of the process's control group if that is less.

    A quota of 1.5 processors counts as 2. root, membership: where Linux keeps control groups (version
    1 or 2) and the file that says which are ours.

    >>> processors() >= 1
    True
    """
    quotas = [math.ceil(quota) for quota in _quotas(root, membership)]
    return max(1, min([_affinity(), *quotas]))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path, membership: Path) -> Iterator[float]:
    """Every CPU quota above the process, in processors: its groups' and their ancestors'."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "?", "?"][:3]
        if not path.startswith("/"):
            continue
        if not controllers:  # version 2, alone or beside version 1
            mounts = [root, root / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [root / controllers, root / "cpu"]
        else:
            continue
        for mount in mounts:
            for group in _upwards(mount, path):
                yield from _quota(group)


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The group's directory and its ancestors'. In a container the path may not exist here; its root does."""
    group = PurePosixPath(path.lstrip("/").replace("../", ""))  # "..": outside what this namespace shows
    yield mount / group
    for parent in group.parents:
        yield mount / parent


def _quota(group: Path) -> Iterator[float]:
    """The quota set at one group, if any: cpu.max in version 2, two files in version 1."""
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        except OSError:
            return
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return
    if share > 0:  # -1: no limit
        yield share
