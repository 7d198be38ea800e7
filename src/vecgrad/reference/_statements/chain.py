"""Section 1: derivatives and the chain rule, the update, (1.1)–(1.4)."""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Equation, Trial, trial
from vecgrad.reference.calculus import STEP, gradient


def _column(draw: Draw) -> Trial:
    n = draw.size(1, 6, small=3)
    A, x = draw.reals(n, n), draw.reals(n)
    by_entry = gradient(lambda x: x @ A @ x, x)[:, None]
    return trial(
        {"A": A, "x": x}, ("∂(xᵀAx)/∂x, entry by entry", by_entry, "(A + Aᵀ) x", (A + A.T) @ x[:, None])
    )


def _jacobian(draw: Draw) -> Trial:
    rows, cols = draw.size(1, 5, small=2), draw.size(1, 5, small=3)
    A, x = draw.reals(rows, cols), draw.reals(cols)
    J = np.empty((rows, cols))
    for i in range(rows):
        for j in range(cols):
            J[i, j] = (A[i] @ (x + 1j * STEP * np.eye(cols)[j]) ** 2).imag / STEP
    name = "∂z_i/∂x_j of z = A (x∘x), entry by entry"
    return trial({"A": A, "x": x}, (name, J, "2 A diag(x)", 2 * A @ np.diag(x)))


def _two_layers(draw: Draw) -> tuple[Array, Array, Array]:
    """W, x, t of y = (W x)∘(W x) and z = tᵀy."""
    n, n_in = draw.size(1, 4, small=2), draw.size(1, 4, small=3)
    return draw.reals(n, n_in), draw.reals(n_in), draw.reals(n)


def _chain_w(draw: Draw) -> Trial:
    W, x, t = _two_layers(draw)
    total = np.zeros_like(W)
    for a in range(W.shape[0]):
        for b in range(W.shape[1]):
            for j in range(len(t)):
                total[a, b] += t[j] * 2 * (W[j] @ x) * (x[b] if j == a else 0)
    direct = gradient(lambda W: t @ (W @ x) ** 2, W)
    given = {"W": W, "x": x, "t": t}
    return trial(given, ("∂z/∂W of z = tᵀ(Wx∘Wx)", direct, "Σ_j ∂z/∂y_j · ∂y_j/∂w_i", total))


def _chain_x(draw: Draw) -> Trial:
    W, x, t = _two_layers(draw)
    total = np.zeros_like(x)
    for b in range(len(x)):
        for j in range(len(t)):
            total[b] += t[j] * 2 * (W[j] @ x) * W[j, b]
    direct = gradient(lambda x: t @ (W @ x) ** 2, x)
    given = {"W": W, "x": x, "t": t}
    return trial(given, ("∂z/∂x of z = tᵀ(Wx∘Wx)", direct, "Σ_j ∂z/∂y_j · ∂y_j/∂x_m", total))


EQUATIONS = (
    Equation("1.1", "gradient", "∂z/∂x = (∂z/∂x_1, …, ∂z/∂x_n)ᵀ, a column, for a scalar z", _column),
    Equation("1.2", "Jacobian", "(∂z/∂xᵀ)_ij = ∂z_i/∂x_j, of size m × n", _jacobian),
    Equation("1.3", "chain rule, parameters", "∂z/∂w_i = Σ_j ∂z/∂x_j · ∂x_j/∂w_i", _chain_w),
    Equation("1.4", "chain rule, inputs", "∂z/∂x_m = Σ_j ∂z/∂x_j · ∂x_j/∂x_m", _chain_x),
)
