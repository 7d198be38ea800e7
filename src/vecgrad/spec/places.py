"""Where vecgrad keeps what it could make again."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_directory() -> Path:
    """Where compiled objects and decoded images are kept: VECGRAD_CACHE_DIR, or ``vecgrad`` in the user's cache directory.

    That is XDG_CACHE_HOME or ~/.cache; on macOS ~/Library/Caches; on Windows LOCALAPPDATA.
    """
    if chosen := os.environ.get("VECGRAD_CACHE_DIR"):
        return Path(chosen).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "vecgrad"
    if sys.platform == "darwin":
        return Path("~/Library/Caches/vecgrad").expanduser()
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local) / "vecgrad" / "cache"
    return Path("~/.cache/vecgrad").expanduser()
