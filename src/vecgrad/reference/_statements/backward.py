"""Section 2.3: the gradients of convolution, (2.18)–(2.30).

One side is always free of the formula: complex steps, or exact integer differences, through seven loops.
"""

from __future__ import annotations

import numpy as np

from vecgrad.reference._statements._conv_case import ConvCase, half_square, loops
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Equation, Trial, trial
from vecgrad.reference.calculus import differences, gradient
from vecgrad.reference.convolution import convolve_dw, convolve_dx, convolve_dx_by_gather
from vecgrad.reference.indexmap import M, gather, m
from vecgrad.reference.tensors import kron, unvec, vec
from vecgrad.reference.unfold import kernel_matrix

NUMERICALLY = "by complex steps"


def _chain_w(draw: Draw) -> Trial:
    case = ConvCase.draw(draw, integers=True)
    J = differences(lambda w: loops(case.x, w, case.g), case.w)
    return trial(
        case.given,
        (
            f"∂z/∂vec(w)ᵀ {NUMERICALLY}",
            vec(case.dz_dw)[None],
            "∂z/∂vec(y)ᵀ · ∂vec(y)/∂vec(w)ᵀ",
            vec(case.dy)[None] @ J,
        ),
        ("vec(C)", vec(case.C), "vec(w)", vec(case.w)),
    )


def _jacobian_w(draw: Draw) -> Trial:
    case = ConvCase.draw(draw, integers=True)
    J = differences(lambda w: loops(case.x, w, case.g), case.w)
    closed = kron(np.eye(case.g.channels_out), case.phi)
    return trial({"x": case.x}, ("∂vec(y)/∂vec(w)ᵀ by exact differences", J, "I ⊗ φ(x)", closed))


def _row_dC(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    identity, row, name = np.eye(case.g.channels_out), vec(case.dz_dw)[None], f"∂z/∂vec(C)ᵀ {NUMERICALLY}"
    first = vec(case.dy)[None] @ kron(identity, case.phi)
    second = (kron(identity, case.phi.T) @ vec(case.dY))[None]
    return trial(
        case.given,
        (name, row, "vec(∂z/∂y)ᵀ (I ⊗ φ)", first),
        (name, row, "((I ⊗ φᵀ) vec(∂z/∂(φC)))ᵀ", second),
        (name, row, "vec(φᵀ ∂z/∂(φC))ᵀ", vec(case.phi.T @ case.dY)[None]),
    )


def _dC(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    return trial(
        case.given,
        (f"∂z/∂C {NUMERICALLY}", kernel_matrix(case.dz_dw), "φ(x)ᵀ ∂z/∂(φ(x) C)", case.phi.T @ case.dY),
        (
            f"∂z/∂w {NUMERICALLY}",
            case.dz_dw,
            "the same in the kernels' shape",
            convolve_dw(case.x, case.dy, case.g),
        ),
    )


def _chain_x(draw: Draw) -> Trial:
    case = ConvCase.draw(draw, integers=True)
    J = differences(lambda x: loops(x, case.w, case.g), case.x)
    return trial(
        case.given,
        (
            f"∂z/∂vec(x)ᵀ {NUMERICALLY}",
            vec(case.dz_dx)[None],
            "∂z/∂vec(y)ᵀ · ∂vec(y)/∂vec(x)ᵀ",
            vec(case.dy)[None] @ J,
        ),
    )


def _M_entries(draw: Draw) -> Trial:
    g, D = draw.plain_window(), draw.size(1, 2, small=1)
    (P, Q), (H, W) = g.out_size, g.in_size
    entries = np.zeros((P * Q * g.taps * D, D * H * W))
    for p in range(P * Q):
        for q in range(g.taps * D):
            for d in range(D):
                for i in range(H):
                    for j in range(W):
                        entries[p + P * Q * q, H * W * d + H * j + i] = m(p, q, g) == (d, i, j)
    return trial(
        {"image, kernel": [g.in_size, g.kernel]},
        ("M", M(g, D).dense(), "1 where m(p, q) = (d, i, j), entry by entry", entries),
        ("row sums of M", M(g, D).dense().sum(axis=1), "exactly one 1 in each row", np.ones(len(entries))),
    )


def _M_copies(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    product = M(case.g.window, case.g.channels_in) @ vec(case.x)
    return trial({"x": case.x}, ("vec(φ(x)), window by window", vec(case.phi), "M vec(x)", product))


def _jacobian_x(draw: Draw) -> Trial:
    case = ConvCase.draw(draw, integers=True)
    J = differences(lambda x: loops(x, case.w, case.g), case.x)
    closed = kron(case.C.T, np.eye(len(case.phi))) @ M(case.g.window, case.g.channels_in).dense()
    return trial({"w": case.w}, ("∂vec(y)/∂vec(x)ᵀ by exact differences", J, "(Cᵀ ⊗ I) M", closed))


def _row_dx(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    closed = vec(case.dY)[None] @ kron(case.C.T, np.eye(len(case.phi)))
    closed = closed @ M(case.g.window, case.g.channels_in).dense()
    name = f"∂z/∂vec(x)ᵀ {NUMERICALLY}"
    return trial(case.given, (name, vec(case.dz_dx)[None], "∂z/∂vec(φC)ᵀ (Cᵀ ⊗ I) M", closed))


def _row_identity(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    identity = np.eye(len(case.phi))
    left, name = vec(case.dY)[None] @ kron(case.C.T, identity), "∂z/∂vec(φC)ᵀ (Cᵀ ⊗ I)"
    return trial(
        {"∂z/∂(φC)": case.dY, "C": case.C},
        (name, left, "((C ⊗ I) vec(∂z/∂(φC)))ᵀ", (kron(case.C, identity) @ vec(case.dY))[None]),
        (name, left, "vec(∂z/∂(φC) Cᵀ)ᵀ", vec(case.dY @ case.C.T)[None]),
    )


def _dx(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    closed = M(case.g.window, case.g.channels_in).transposed(vec(case.dY @ case.C.T))
    return trial(
        case.given,
        (f"∂z/∂vec(x) {NUMERICALLY}", vec(case.dz_dx), "Mᵀ vec(∂z/∂(φC) Cᵀ)", closed),
        (f"∂z/∂x {NUMERICALLY}", case.dz_dx, "the same in x's shape", convolve_dx(case.dy, case.w, case.g)),
    )


def _dphi(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    T = unvec(vec(case.t), case.dY.shape)
    by_steps = gradient(lambda F: half_square(F @ case.C, T), case.phi)
    G = case.dY @ case.C.T
    P, Q = case.g.window.out_size
    return trial(
        case.given,
        (f"∂z/∂φ(x) {NUMERICALLY}", by_steps, "∂z/∂(φC) Cᵀ", G),
        ("its size", G.shape, "H_(k+1) W_(k+1) × H' W' D", (P * Q, case.g.window.taps * case.g.channels_in)),
    )


def _gather(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    return trial(
        case.given,
        (
            f"∂z/∂x {NUMERICALLY}",
            case.dz_dx,
            "Σ over m(p, q) = (d, i, j)",
            gather(case.dY @ case.C.T, case.g.window),
        ),
        (
            f"∂z/∂x {NUMERICALLY}",
            case.dz_dx,
            "the same from y",
            convolve_dx_by_gather(case.dy, case.w, case.g),
        ),
    )


EQUATIONS = (
    Equation(
        "2.18", "chain rule, w", "∂z/∂vec(w)ᵀ = ∂z/∂vec(y)ᵀ · ∂vec(y)/∂vec(w)ᵀ, vec(C) = vec(w)", _chain_w
    ),
    Equation("2.19", "Jacobian by w", "∂vec(y)/∂vec(w)ᵀ = I ⊗ φ(x)", _jacobian_w),
    Equation(
        "2.20", "gradient by C, as a row", "∂z/∂vec(C)ᵀ = vec(φ(x)ᵀ ∂z/∂(φ(x) C))ᵀ, in three steps", _row_dC
    ),
    Equation("2.21", "gradient by C", "∂z/∂C = φ(x)ᵀ ∂z/∂(φ(x) C)", _dC),
    Equation("2.22", "chain rule, x", "∂z/∂vec(x)ᵀ = ∂z/∂vec(y)ᵀ · ∂vec(y)/∂vec(x)ᵀ", _chain_x),
    Equation("2.23", "the matrix M", "M((p, q), (d, i, j)) = 1 if m(p, q) = (d, i, j), else 0", _M_entries),
    Equation("2.24", "φ by M", "vec(φ(x)) = M vec(x)", _M_copies),
    Equation("2.25", "Jacobian by x", "∂vec(y)/∂vec(x)ᵀ = (Cᵀ ⊗ I) M", _jacobian_x),
    Equation("2.26", "gradient by x, as a row", "∂z/∂vec(x)ᵀ = ∂z/∂vec(φ(x) C)ᵀ (Cᵀ ⊗ I) M", _row_dx),
    Equation(
        "2.27",
        "its factor",
        "∂z/∂vec(φC)ᵀ (Cᵀ ⊗ I) = ((C ⊗ I) vec(∂z/∂(φC)))ᵀ = vec(∂z/∂(φC) Cᵀ)ᵀ",
        _row_identity,
    ),
    Equation("2.28", "gradient by x", "∂z/∂vec(x) = Mᵀ vec(∂z/∂(φ(x) C) Cᵀ)", _dx),
    Equation(
        "2.29",
        "the matrix gathered",
        "∂z/∂(φ(x) C) Cᵀ, of size H_(k+1) W_(k+1) × H' W' D: it is ∂z/∂φ(x)",
        _dphi,
    ),
    Equation(
        "2.30",
        "the gather",
        "(∂z/∂x)_(d,i,j) = Σ over m(p, q) = (d, i, j) of (∂z/∂(φ(x) C) Cᵀ)_(p,q)",
        _gather,
    ),
)
