"""Sections 2.1 and 2.2: convolution as a matrix product, (2.1)–(2.13)."""

from __future__ import annotations

import numpy as np

from vecgrad.reference import ops
from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._conv_case import ConvCase, loops
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Equation, Trial, trial
from vecgrad.reference.layout import to_channels_last, weights_to_channels_last
from vecgrad.reference.tensors import kron, vec
from vecgrad.reference.unfold import im2col, kernel_matrix
from vecgrad.spec.geometry import Conv, window

# The worked example of section 2.1.
A = np.array([[1, 3, 1, 4], [2, 8, 5, 1], [3, 2, 0, 3]], dtype=np.float64)
K = np.array([[1, 0], [-1, 1]], dtype=np.float64)
A_STAR_K = np.array([[7, 0, -3], [1, 6, 8]], dtype=np.float64)
B = np.array(
    [[1, 2, 3, 8, 1, 5], [2, 3, 8, 2, 5, 0], [3, 8, 1, 5, 4, 1], [8, 2, 5, 0, 1, 3]], dtype=np.float64
)
SOBEL = np.array([[1, 2, 1], [0, 0, 0], [-1, -2, -1]], dtype=np.float64)


def matrix_loops(A: Array, K: Array) -> Array:
    """A * K of two matrices by the seven loops."""
    y: Array = loops(A[None], K[None, None], Conv(window(_size(A), _size(K)), 1, 1))[0]
    return y


def windows_by_loops(A: Array, rows: int, cols: int) -> Array:
    """im2col of one channel, entry by entry."""
    P, Q = A.shape[0] - rows + 1, A.shape[1] - cols + 1
    out = np.empty((rows * cols, P * Q))
    column = 0
    for j_out in range(Q):
        for i_out in range(P):
            row = 0
            for j in range(cols):
                for i in range(rows):
                    out[row, column] = A[i_out + i, j_out + j]
                    row += 1
            column += 1
    return out


def shifted_sum(A: Array, K: Array) -> Array:
    """A * K as the sum of A shifted, once for each entry of K."""
    (R, S), (H, W) = K.shape, A.shape
    shifts = [K[r, s] * A[r : H - R + 1 + r, s : W - S + 1 + s] for r in range(R) for s in range(S)]
    return np.asarray(sum(shifts))


def kron_by_blocks(A: Array, B: Array) -> Array:
    return np.block([[a * B for a in row] for row in A])


def _size(matrix: Array) -> tuple[int, int]:
    return (matrix.shape[0], matrix.shape[1])


def _product(draw: Draw) -> Trial:
    edge = np.repeat([0.0, 0.0, 1.0, 1.0], 4).reshape(4, 4)
    case = ConvCase.draw(draw)
    fast = ops.conv(to_channels_last(case.x[None]), weights_to_channels_last(case.w), case.g)
    seen = np.full((2, 2), -4.0)
    return trial(
        {"A": A, "K": K, "horizontal edge E": edge, "Sobel's G": SOBEL, **case.operands},
        ("A * K by loops", matrix_loops(A, K), "the paper's numbers", A_STAR_K),
        ("E * G by loops", matrix_loops(edge, SOBEL), "−4: G sees a horizontal edge", seen),
        ("E * Gᵀ by loops", matrix_loops(edge, SOBEL.T), "0: Gᵀ does not", 0 * seen),
        ("Eᵀ * Gᵀ by loops", matrix_loops(edge.T, SOBEL.T), "−4: Gᵀ sees a vertical edge", seen),
        ("x * w by loops", case.y, "a product for each tap", np.moveaxis(fast[0], -1, 0)),
    )


def _example(_: Draw) -> Trial:
    k = np.array([1.0, -1.0, 0.0, 1.0])
    unfolded = im2col(A, window((3, 4), 2))
    return trial(
        {"A": A, "K": K},
        ("im2col(A, [2, 2])", unfolded, "the paper's B", B),
        ("vec(K)", vec(K), "[1, −1, 0, 1]ᵀ", k),
        ("Bᵀ vec(K)", unfolded.T @ vec(K), "[7, 1, 0, 6, −3, 8]ᵀ", [7, 1, 0, 6, -3, 8]),
    )


def _im2col_product(draw: Draw) -> Trial:
    g = draw.plain_window()
    A, K = draw.reals(*g.in_size), draw.reals(*g.kernel)
    product = im2col(A, g).T @ vec(K)
    return trial(
        {"A": A, "K": K},
        ("im2col(A, [H', W'])ᵀ vec(K)", product, "vec(A * K), by loops", vec(matrix_loops(A, K))),
    )


def _channels(draw: Draw) -> Trial:
    g = Conv(draw.plain_window(), draw.size(1, 3, small=2), 1)
    x, kappa = draw.image(g), draw.kernels(g)
    (H, W), (R, S) = g.window.in_size, g.window.kernel
    total = np.asarray(sum(shifted_sum(A_i, K_i) for A_i, K_i in zip(x, kappa[0], strict=True)))
    same = window((H, W), (R, S), padding="same")
    (top, bottom), (left, right) = same.padding
    return trial(
        {"x": x, "κ": kappa[0]},
        ("Σ_i A_i * K_i", total, "x * κ by loops", loops(x, kappa, g)[0]),
        ("valid size", total.shape, "H − H' + 1, W − W' + 1", (H - R + 1, W - S + 1)),
        (
            "same: padded size",
            (H + top + bottom, W + left + right),
            "H + H' − 1, W + W' − 1",
            (H + R - 1, W + S - 1),
        ),
        ("same: size", same.out_size, "H, W", (H, W)),
    )


def _stacked_channels(draw: Draw) -> Trial:
    g = draw.plain_window()
    x = draw.reals(draw.size(1, 3, small=2), *g.in_size)
    by_channel = np.concatenate([windows_by_loops(channel, *g.kernel) for channel in x])
    return trial({"x": x}, ("im2col(x)", im2col(x, g), "the im2col of each channel, stacked", by_channel))


def _phi(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    (P, Q), (R, S) = case.g.window.out_size, case.g.window.kernel
    rows = [vec(case.x[:, i_out : i_out + R, j_out : j_out + S]) for j_out in range(Q) for i_out in range(P)]
    size = (P * Q, R * S * case.g.channels_in)
    return trial(
        {"x": case.x},
        ("φ(x)", case.phi, "vec of each window, row by row", np.stack(rows)),
        ("size of φ(x)", case.phi.shape, "H_(k+1) W_(k+1) × H' W' D", size),
    )


def _vec(draw: Draw) -> Trial:
    D, H, W = draw.size(1, 3, small=2), draw.size(1, 4, small=2), draw.size(1, 4, small=3)
    y = draw.reals(D, H, W)
    placed = np.empty(D * H * W)
    for d in range(D):
        for i in range(H):
            for j in range(W):
                placed[H * W * d + H * j + i] = y[d, i, j]
    two = np.stack([y, 10 * y])
    recursive = np.concatenate([vec(part) for part in two])
    return trial(
        {"y": y},
        ("vec(y)", vec(y), "entry (d, i, j) at H W d + H j + i", placed),
        ("vec((y, 10 y)), order 4", vec(two), "(vec(y), vec(10 y))", recursive),
    )


def _kernel_matrix(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    D_out, D, R, S = case.w.shape
    C = np.empty((R * S * D, D_out))
    for kernel in range(D_out):
        for d in range(D):
            for i in range(R):
                for j in range(S):
                    C[R * S * d + R * j + i, kernel] = case.w[kernel, d, i, j]
    return trial({"w": case.w}, ("(vec(κ_1), …, vec(κ_D'))", kernel_matrix(case.w), "C, entry by entry", C))


def _forward(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    return trial(
        case.operands,
        ("vec(φ(x) C)", vec(case.phi @ case.C), "vec(y), y by loops", vec(case.y)),
    )


def _kron_transposed(draw: Draw) -> Trial:
    A = draw.reals(draw.size(1, 3, small=2), draw.size(1, 3, small=2))
    B = draw.reals(draw.size(1, 3, small=1), draw.size(1, 3, small=2))
    return trial(
        {"A": A, "B": B},
        ("(A ⊗ B)ᵀ, block by block", kron_by_blocks(A, B).T, "Aᵀ ⊗ Bᵀ", kron(A.T, B.T)),
    )


def _vec_of_product(draw: Draw) -> Trial:
    a, b, c, d = (draw.size(1, 4, small=2) for _ in range(4))
    A, X, B = draw.reals(a, b), draw.reals(b, c), draw.reals(c, d)
    return trial(
        {"A": A, "X": X, "B": B}, ("vec(A X B)", vec(A @ X @ B), "(Bᵀ ⊗ A) vec(X)", kron(B.T, A) @ vec(X))
    )


def _linear_in_w(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    product = kron(np.eye(case.g.channels_out), case.phi) @ vec(case.C)
    return trial(case.operands, ("vec(y), y by loops", vec(case.y), "(I ⊗ φ(x)) vec(C)", product))


def _linear_in_x(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    product = kron(case.C.T, np.eye(len(case.phi))) @ vec(case.phi)
    return trial(case.operands, ("vec(y), y by loops", vec(case.y), "(Cᵀ ⊗ I) vec(φ(x))", product))


EQUATIONS = (
    Equation(
        "2.1",
        "the worked example",
        "A * K: entry (i, j) = Σ_rs A_(i+r, j+s) K_rs, kernel not flipped",
        _product,
    ),
    Equation(
        "2.2",
        "the example by im2col",
        "Bᵀ [1, −1, 0, 1]ᵀ = [7, 1, 0, 6, −3, 8]ᵀ, B = im2col(A, [2, 2])",
        _example,
    ),
    Equation("2.3", "convolution of matrices", "im2col(A, [H', W'])ᵀ vec(K) = vec(A * K)", _im2col_product),
    Equation("2.4", "convolution of channels", "x * κ = Σ_i A_i * K_i", _channels),
    Equation(
        "2.5",
        "im2col of a tensor",
        "im2col(x) = the im2col of each channel, stacked in the rows",
        _stacked_channels,
    ),
    Equation("2.6", "φ", "φ(x) = im2col(x, [H', W'])ᵀ, of size H_(k+1) W_(k+1) × H' W' D", _phi),
    Equation(
        "2.7", "vec of a tensor", "vec(y) = (vec(y_1), …, vec(y_n)); entry (d, i, j) at H W d + H j + i", _vec
    ),
    Equation("2.8", "kernels as a matrix", "C = (vec(κ_1), …, vec(κ_D'))", _kernel_matrix),
    Equation("2.9", "the forward pass", "vec(φ(x) C) = vec(y)", _forward),
    Equation("2.10", "transposed Kronecker product", "(A ⊗ B)ᵀ = Aᵀ ⊗ Bᵀ", _kron_transposed),
    Equation("2.11", "vec of a product", "vec(A X B) = (Bᵀ ⊗ A) vec(X)", _vec_of_product),
    Equation("2.12", "y, linear in C", "vec(y) = (I ⊗ φ(x)) vec(C)", _linear_in_w),
    Equation("2.13", "y, linear in φ", "vec(y) = (Cᵀ ⊗ I) vec(φ(x))", _linear_in_x),
)
