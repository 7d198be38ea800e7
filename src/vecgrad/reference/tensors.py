"""vec and the Kronecker product: the two operators of the paper's calculus."""

from __future__ import annotations

import math

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.spec.errors import ShapeError


def vec(x: Array) -> Array:
    """The column-major stack of a tensor's entries (2.7), a vector of order 1.

    A matrix gives its columns one below the other; a tensor of higher order the vec of its parts, part
    after part. Entry (d, i, j) of a D × H × W tensor lands at H·W·d + H·j + i.

    >>> vec(np.array([[1, 2], [3, 4]]))
    array([1, 3, 2, 4])
    """
    x = np.asarray(x)
    return x.reshape(-1) if x.ndim < 2 else x.swapaxes(-1, -2).reshape(-1)


def unvec(v: Array, shape: tuple[int, ...]) -> Array:
    """The tensor of ``shape`` whose vec is ``v``. Raises ShapeError where the lengths differ.

    >>> unvec(np.array([1, 3, 2, 4]), (2, 2))
    array([[1, 2],
           [3, 4]])
    """
    if v.shape != (math.prod(shape),):
        raise ShapeError(f"unvec got {v.shape} entries; a tensor of shape {shape} has ({math.prod(shape)},)")
    return (
        v.reshape(shape) if len(shape) < 2 else v.reshape(*shape[:-2], shape[-1], shape[-2]).swapaxes(-1, -2)
    )


def kron(A: Array, B: Array) -> Array:
    """A ⊗ B: the matrix of blocks a_ij B (section 2.2).

    >>> kron(np.array([[1, 10]]), np.array([[1], [2]]))
    array([[ 1, 10],
           [ 2, 20]])
    """
    blocks: Array = np.einsum("ij,kl->ikjl", A, B)
    return blocks.reshape(A.shape[0] * B.shape[0], A.shape[1] * B.shape[1])
