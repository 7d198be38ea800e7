"""Derivatives that know no formula: complex steps, and exact differences of affine functions.

The complex step f(x + ih) ≈ f(x) + ih f'(x) subtracts nothing, so with h = 1e-30 it is exact to the last
digits (Squire and Trapp, SIAM Review 40, 1998). Every function of this room accepts complex arrays and
compares them by their real parts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.reference.tensors import unvec, vec

STEP = 1e-30


def jacobian(f: Callable[[Array], Array], x: Array) -> Array:
    """∂vec(f)/∂vec(x)ᵀ (1.2) by complex steps: entry (i, j) is the derivative of vec(f(x))_i by vec(x)_j.

    >>> jacobian(lambda x: x**2, np.array([1.0, 3.0]))
    array([[2., 0.],
           [0., 6.]])
    """
    columns = [vec(np.asarray(f(x + 1j * STEP * e))).imag / STEP for e in _units(x)]
    return np.stack(columns, axis=1)


def gradient(z: Callable[[Array], Array], x: Array) -> Array:
    """∂z/∂x (1.1) by complex steps for a scalar z, in the shape of x.

    >>> gradient(lambda x: np.sum(x**3), np.array([1.0, 2.0]))
    array([ 3., 12.])
    """
    entries = np.array([np.asarray(z(x + 1j * STEP * e)).imag / STEP for e in _units(x)])
    return unvec(entries, x.shape)


def differences(f: Callable[[Array], Array], x: Array) -> Array:
    """∂vec(f)/∂vec(x)ᵀ of an affine f as f(x + e_j) − f(x): exact where f stays within the exact integers.

    >>> differences(lambda x: 3 * x + 1, np.array([5.0, 7.0]))
    array([[3., 0.],
           [0., 3.]])
    """
    start = vec(f(x))
    return np.stack([vec(f(x + e)) - start for e in _units(x)], axis=1)


def _units(x: Array) -> list[Array]:
    """The unit tensors of x's shape, in vec order."""
    return [unvec(row, x.shape) for row in np.eye(x.size)]
