"""vecgrad's arrays as channels-first peers want them."""

from __future__ import annotations

from typing import Any

import numpy as np

from bench._networks import Network
from vecgrad.layers import Conv2D, Dense, Flatten


def channels_first(parameters: dict[str, Any], network: Network) -> dict[str, Any]:
    """The parameters as every channels-first peer wants them: (out, in, height, width), and (out, features) with
    the features of a flattened map in the order (channel, row, column)."""
    found, before = {}, None
    for number, layer, shape in network.shapes():
        if isinstance(layer, Flatten):
            before = shape
        if isinstance(layer, Conv2D):
            found[f"{number}.weight"] = parameters[f"{number}.weight"].transpose(3, 2, 0, 1)
        elif isinstance(layer, Dense):
            w = parameters[f"{number}.weight"]
            if before is not None:
                w = w.reshape(*before, -1).transpose(2, 0, 1, 3).reshape(w.shape)
                before = None
            found[f"{number}.weight"] = w.T
        else:
            continue
        found[f"{number}.bias"] = parameters[f"{number}.bias"]
    return {name: np.ascontiguousarray(array) for name, array in found.items()}
