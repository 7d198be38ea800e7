"""JAX's side: the same step written with jax.lax alone, jitted whole, its weights and momenta donated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bench._networks import MOMENTUM, RATE, Network
from vecgrad.layers import AvgPool2D, Conv2D, Dense, Flatten, MaxPool2D, ReLU

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def _pooled(x: Any, layer: Any, first: float, join: Any) -> Any:
    size = layer.pool_size
    return jax.lax.reduce_window(x, first, join, (1, size, size, 1), (1, size, size, 1), "VALID")


def logits(network: Network, weights: dict[str, Any], x: Any) -> Any:
    """The network's output on images (n, height, width, channels)."""
    for number, layer, _ in network.shapes():
        match layer:
            case Conv2D(stride=stride, padding=padding):
                pad = 0 if padding == "valid" else padding
                x = jax.lax.conv_general_dilated(
                    x, weights[f"{number}.weight"], (stride, stride), [(pad, pad)] * 2,
                    dimension_numbers=_LAYOUT,
                ) + weights[f"{number}.bias"]  # fmt: skip
            case ReLU():
                x = jnp.maximum(x, 0)
            case MaxPool2D():
                x = _pooled(x, layer, -jnp.inf, jax.lax.max)
            case AvgPool2D(pool_size=size):
                x = _pooled(x, layer, 0.0, jax.lax.add) / (size * size)
            case Flatten():
                x = x.reshape(len(x), -1)
            case Dense():
                x = x.reshape(len(x), -1) @ weights[f"{number}.weight"] + weights[f"{number}.bias"]
            case _:
                raise NotImplementedError(f"no jax.lax for {layer}")
    return x


def step(network: Network, batch: int | None = None) -> Callable[[], float]:
    """A training step: call it for one step, it returns the loss before it."""
    x, y = (jax.device_put(array) for array in network.data(batch))

    def loss(weights: dict[str, Any], x: Any, y: Any) -> Any:
        scores = jax.nn.log_softmax(logits(network, weights, x))
        return -jnp.take_along_axis(scores, y[:, None], axis=1).mean()

    def update(weights: Any, velocity: Any, x: Any, y: Any) -> Any:
        value, gradients = jax.value_and_grad(loss)(weights, x, y)
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
        return value, jax.tree.map(lambda w, v: w - RATE * v, weights, velocity), velocity

    jitted = jax.jit(update, donate_argnums=(0, 1))
    weights = {name: jnp.array(array) for name, array in network.parameters().items()}
    state = [weights, jax.tree.map(jnp.zeros_like, weights)]

    def one() -> float:
        value, state[0], state[1] = jitted(*state, x, y)
        return float(jax.block_until_ready((value, state))[0])

    return one
