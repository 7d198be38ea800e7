"""Normalization over the batch (Ioffe and Szegedy 2015) or within an image, and its gradients in closed form.

For one channel, let x be the vector of its entries over all images and pixels, w the weight of the image of each entry, and
N = Σ w. With the mean m = wᵀx / N, the variance v = wᵀ(x − m)² / N and r = 1 / √(v + ε),

    x̂ = r (x − m),    y = γ x̂ + β.

Gradients from g = ∂z/∂y, by the chain rule (1.3):

    ∂z/∂β = Σ g,    ∂z/∂γ = gᵀx̂.

x reaches z through x − m directly, through m, and through r. The differentials are dm = wᵀdx / N, dv = 2 (w ∘ (x − m))ᵀdx / N,
because wᵀ(x − m) = 0 takes dm out of it, and dr = −r³ dv / 2. So with ĝ = γ g,

    dz = ĝᵀ(r (dx − 1 dm) + (x − m) dr)
       = r ĝᵀdx − r (Σ ĝ) wᵀdx / N − r (ĝᵀx̂) (w ∘ x̂)ᵀdx / N,

    ∂z/∂x = γ r (g − w/N ∘ (∂z/∂β + x̂ ∂z/∂γ)).

With equal weights this is the usual formula, N counting entries. An image of weight zero takes no part in the statistics.

Group normalization (Wu and He 2018) and layer normalization (Ba, Kiros and Hinton 2016) normalize sets of entries of one
image: x is then the vector of one such set, with equal weights, and γ and β vary within it. Everything above holds with the vector
ĝ = γ ∘ g as it stands there, so with N entries

    ∂z/∂x = r (ĝ − (1 Σ ĝ + x̂ ĝᵀx̂) / N),

while ∂z/∂γ and ∂z/∂β sum g ∘ x̂ and g over whatever shares that γ and β: the images and pixels of a channel.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def moments(x: Array, weight: Array) -> tuple[Array, Array]:
    """Weighted mean and variance (C,) of x (n, …, C) over everything but the channels; weight (n,). Zeros where Σ w = 0.

    >>> mean, variance = moments(np.array([[1.0], [3.0], [9.0]]), np.array([1.0, 1.0, 0.0]))
    >>> mean, variance
    (array([2.]), array([1.]))
    """
    w = weight.reshape(-1, *(1,) * (x.ndim - 1))
    axes = tuple(range(x.ndim - 1))
    count = weight.sum() * (x[0, ..., 0].size if len(x) else 0)
    if not count:
        return np.zeros(x.shape[-1], x.dtype), np.zeros(x.shape[-1], x.dtype)
    mean = (w * x).sum(axes) / count
    return mean, (w * (x - mean) ** 2).sum(axes) / count


class Partial(NamedTuple):
    """What is known of some of the entries: N = Σ w, their mean and S = Σ w (x − mean)²."""

    count: Any
    mean: Any
    squares: Any


def merged(a: Partial, b: Partial) -> Partial:
    """The same of two parts together (Chan, Golub and LeVeque 1979): no difference of large squares is ever taken.

    >>> [float(number) for number in merged(Partial(2.0, 2.0, 2.0), Partial(2.0, 4.0, 2.0))]
    [4.0, 3.0, 8.0]
    """
    count = a.count + b.count
    share = b.count / np.where(count == 0, 1, count)
    step = b.mean - a.mean
    return Partial(count, a.mean + step * share, a.squares + b.squares + step * step * (a.count * share))


def batch_norm(
    x: Array, gamma: Array, beta: Array, weight: Array, epsilon: float
) -> tuple[Array, Array, Array]:
    """(y, m, r) of x (n, …, C)."""
    mean, variance = moments(x, weight)
    rate = 1 / np.sqrt(variance + epsilon)
    return gamma * (rate * (x - mean)) + beta, mean, rate


def batch_norm_backward(
    x: Array, gamma: Array, weight: Array, mean: Array, rate: Array, dy: Array
) -> tuple[Array, Array, Array]:
    """(∂z/∂x, ∂z/∂γ, ∂z/∂β)."""
    axes = tuple(range(x.ndim - 1))
    w = weight.reshape(-1, *(1,) * (x.ndim - 1))
    count = weight.sum() * (x[0, ..., 0].size if len(x) else 0)
    hat = rate * (x - mean)
    beta, gamma_gradient = dy.sum(axes), (dy * hat).sum(axes)
    return gamma * rate * (dy - w / count * (beta + hat * gamma_gradient)), gamma_gradient, beta


def group_norm(
    x: Array, gamma: Array, beta: Array, groups: int, epsilon: float
) -> tuple[Array, Array, Array]:
    """(y, x̂, r) of x (n, …, C): each image's pixels and C / groups channels are normalized together; r (n, groups).

    >>> group_norm(np.array([[1.0, 3.0, 5.0, 5.0]]), np.ones(4), np.zeros(4), 2, 0.0)[1][:, :2]
    array([[-1.,  1.]])
    """
    parts = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    centred = parts - parts.mean((1, 3), keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = 1 / np.sqrt((centred**2).mean((1, 3)) + epsilon)
        hat = (centred * rate[:, None, :, None]).reshape(x.shape)
    return gamma * hat + beta, hat, rate


def group_norm_backward(hat: Array, gamma: Array, rate: Array, dy: Array) -> tuple[Array, Array, Array]:
    """(∂z/∂x, ∂z/∂γ, ∂z/∂β)."""
    axes = tuple(range(dy.ndim - 1))
    shape = (len(dy), -1, rate.shape[1], dy.shape[-1] // rate.shape[1])
    g, h = (gamma * dy).reshape(shape), hat.reshape(shape)
    level, along = (part.mean((1, 3), keepdims=True) for part in (g, g * h))
    dx = rate[:, None, :, None] * (g - level - h * along)
    return dx.reshape(dy.shape), (dy * hat).sum(axes), dy.sum(axes)


def layer_norm(x: Array, gamma: Array, beta: Array, epsilon: float) -> tuple[Array, Array, Array]:
    """(y, x̂, r) of x (…, C): each pixel's channels are one group of an image that is this pixel."""
    pixels = x.reshape(-1, x.shape[-1])
    y, hat, rate = group_norm(pixels, gamma, beta, 1, epsilon)
    return y.reshape(x.shape), hat.reshape(x.shape), rate


def layer_norm_backward(hat: Array, gamma: Array, rate: Array, dy: Array) -> tuple[Array, Array, Array]:
    """(∂z/∂x, ∂z/∂γ, ∂z/∂β)."""
    flat = (-1, dy.shape[-1])
    dx, gamma_gradient, beta = group_norm_backward(hat.reshape(flat), gamma, rate, dy.reshape(flat))
    return dx.reshape(dy.shape), gamma_gradient, beta
