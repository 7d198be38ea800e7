"""Section 6, geometry and layout: any window, "same", groups, bias, batches, channels last, dense layers."""

from __future__ import annotations

import numpy as np

from vecgrad.reference import layout, ops
from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._conv_case import ConvCase, half_square, loops
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Equation, Trial, trial
from vecgrad.reference.calculus import gradient
from vecgrad.reference.convolution import (
    convolve,
    convolve_by_loops,
    convolve_db,
    convolve_dw,
    convolve_dx,
    convolve_dx_by_gather,
)
from vecgrad.reference.indexmap import M
from vecgrad.reference.tensors import vec
from vecgrad.reference.unfold import kernel_matrix, phi
from vecgrad.spec.geometry import Axis, Conv, Window, window


def _size(draw: Draw) -> Trial:
    g = draw.window()
    counted = tuple(_placements(axis) for axis in (g.rows, g.cols))
    numbers = [list(vars(axis).values()) for axis in (g.rows, g.cols)]
    return trial(
        {"(size, kernel, stride, before, after, dilation)": numbers},
        (
            "placements, counted one by one",
            counted,
            "floor((H + top + bottom − e (H' − 1) − 1) / s) + 1",
            g.out_size,
        ),
    )


def _placements(axis: Axis) -> int:
    """How many windows fit, by moving one until it leaves the padded image."""
    count = first = 0
    while first + axis.dilation * (axis.kernel - 1) < axis.before + axis.size + axis.after:
        count, first = count + 1, first + axis.stride
    return count


def _any_window(draw: Draw) -> Trial:
    case = ConvCase.draw(draw, draw.window())
    selection = M(case.g.window, case.g.channels_in)
    dw, dx = case.dz_dw, case.dz_dx
    steps = "by complex steps"
    return trial(
        case.given,
        ("vec(φ(x))", vec(case.phi), "M vec(x) (2.24)", selection @ vec(case.x)),
        ("vec(y), y by loops", vec(case.y), "vec(φ(x) C) (2.9)", vec(case.phi @ case.C)),
        (f"∂z/∂C {steps}", kernel_matrix(dw), "φ(x)ᵀ ∂z/∂(φ(x) C) (2.21)", case.phi.T @ case.dY),
        (
            f"∂z/∂x {steps}",
            vec(dx),
            "Mᵀ vec(∂z/∂(φ(x) C) Cᵀ) (2.28)",
            selection.transposed(vec(case.dY @ case.C.T)),
        ),
        (f"∂z/∂x {steps}", dx, "the gather (2.30)", convolve_dx_by_gather(case.dy, case.w, case.g)),
    )


def _same(draw: Draw) -> Trial:
    size = (draw.integer(1, 9), draw.integer(1, 9))
    kernel, stride = (draw.integer(1, 4), draw.integer(1, 4)), (draw.integer(1, 3), draw.integer(1, 3))
    dilation = (draw.integer(1, 2), draw.integer(1, 2))
    g = window(size, kernel, stride, "same", dilation)
    least = []
    for i in (0, 1):
        total = 0
        while _placements(Axis(size[i], kernel[i], stride[i], 0, total, dilation[i])) < -(
            -size[i] // stride[i]
        ):
            total += 1
        least.append((total // 2, total - total // 2))
    return trial(
        {"size, kernel, stride, dilation": [size, kernel, stride, dilation]},
        (
            "output size",
            g.out_size,
            "⌈H / s⌉, ⌈W / s⌉",
            [-(-n // s) for n, s in zip(size, stride, strict=True)],
        ),
        ("padding", g.padding, "the least that does, its smaller half first", least),
    )


def _groups(draw: Draw) -> Trial:
    g = draw.conv(draw.window(), groups=draw.size(2, 3, small=2))
    x, w = draw.image(g), draw.kernels(g)
    t = draw.reals(g.channels_out, *g.window.out_size)
    D, D_out = g.channels_in // g.groups, g.channels_out // g.groups
    block_zero = np.zeros((g.channels_out, g.channels_in, *g.window.kernel))
    for number in range(g.groups):
        out, into = slice(number * D_out, (number + 1) * D_out), slice(number * D, (number + 1) * D)
        block_zero[out, into] = w[out]
    whole = Conv(g.window, g.channels_in, g.channels_out)
    dw = gradient(lambda w: half_square(loops(x, w, g), t), w)
    dx = gradient(lambda x: half_square(loops(x, w, g), t), x)
    dy = loops(x, w, g) - t
    by_block = phi(x, g.window) @ kernel_matrix(block_zero)
    return trial(
        {"x": x, "w": w, "t, with z = ½ Σ (y − t)²": t},
        ("vec(y), y by loops over groups", vec(loops(x, w, g)), "φ(x) blockdiag(C_g)", vec(by_block)),
        ("y group by group", convolve(x, w, g), "one convolution, zero blocks", loops(x, block_zero, whole)),
        ("∂z/∂w by complex steps", dw, "φ_gᵀ ∂z/∂y_g", convolve_dw(x, dy, g)),
        ("∂z/∂x by complex steps", dx, "(2.28) group by group", convolve_dx(dy, w, g)),
    )


def _bias(draw: Draw) -> Trial:
    case = ConvCase.draw(draw)
    b = draw.reals(case.g.channels_out)
    y = convolve_by_loops(case.x[None], case.w, case.g, b)[0]
    by_steps = gradient(
        lambda b: half_square(convolve_by_loops(case.x[None], case.w, case.g, b)[0], case.t),
        b,
    )
    ones = np.ones((len(case.phi), 1))
    return trial(
        {**case.given, "b": b},
        ("vec(y), y by loops", vec(y), "vec(φ(x) C + 1 bᵀ)", vec(case.phi @ case.C + ones @ b[None])),
        ("∂z/∂b by complex steps", by_steps, "(∂z/∂y)ᵀ 1", convolve_db(y - case.t)),
    )


def _batch(draw: Draw) -> Trial:
    g = draw.conv(draw.plain_window())
    n = draw.size(1, 3, small=2)
    x, w = draw.reals(n, g.channels_in, *g.window.in_size), draw.kernels(g)
    t = draw.reals(n, g.channels_out, *g.window.out_size)
    dy = convolve_by_loops(x, w, g) - t
    dw = gradient(lambda w: half_square(convolve_by_loops(x, w, g), t), w)
    dx = gradient(lambda x: half_square(convolve_by_loops(x, w, g), t), x)
    one_by_one_dw = [convolve_dw(x_n, dy_n, g) for x_n, dy_n in zip(x, dy, strict=True)]
    one_by_one_dx = [convolve_dx(dy_n, w, g) for dy_n in dy]
    return trial(
        {"x": x, "w": w, "t, with z = ½ Σ (y − t)²": t},
        ("∂z/∂w by complex steps", dw, "Σ over images of φᵀ ∂z/∂(φ C)", sum(one_by_one_dw)),
        ("∂z/∂x by complex steps", dx, "(2.28) image by image", np.stack(one_by_one_dx)),
    )


def _layout(draw: Draw) -> Trial:
    g = draw.conv(draw.window())
    (P, Q), channels = g.window.out_size, g.channels_in
    x, w = draw.reals(1, *g.in_shape), draw.reals(*g.weight_shape)
    Pi, taps = layout.Pi((P, Q)), layout.Q(g.window, channels)
    F = phi(layout.to_paper(x)[0], g.window)
    C = kernel_matrix(layout.weights_to_paper(w))
    permuted = Pi.dense() @ F @ taps.dense().T
    y = ops.conv(x, w, g)
    return trial(
        {"x (H, W, D)": x[0], "w (H', W', D, D')": w},
        ("y, channels last", y.reshape(P * Q, -1), "(Π φ Qᵀ) (Q C)", permuted @ (taps @ C)),
        ("w.reshape(-1, D'), Fortran order", w.reshape(C.shape, order="F"), "C", C),
        ("w.reshape(-1, D'), C order", w.reshape(C.shape), "Q C", taps @ C),
        ("y by loops, moved to channels last", _loops_channels_last(x, w, g), "y, channels last", y),
    )


def _loops_channels_last(x: Array, w: Array, g: Conv) -> Array:
    return layout.to_channels_last(convolve_by_loops(layout.to_paper(x), layout.weights_to_paper(w), g))


def _dense(draw: Draw) -> Trial:
    H, W, D = draw.size(1, 4, small=2), draw.size(1, 4, small=2), draw.size(1, 3, small=1)
    D_out = draw.size(1, 4, small=2)
    whole = Conv(Window(Axis(H, H), Axis(W, W)), D, D_out)
    x, w = draw.reals(H, W, D), draw.reals(H, W, D, D_out)
    y = loops(layout.to_paper(x[None])[0], layout.weights_to_paper(w), whole)
    t = draw.reals(D_out)
    steps = gradient(lambda w: half_square(x.reshape(-1) @ w, t), w.reshape(-1, D_out))
    dw = ops.conv_dw(x[None], (x.reshape(-1) @ w.reshape(-1, D_out) - t).reshape(1, 1, 1, -1), whole)
    return trial(
        {"x (H, W, D)": x, "w (H, W, D, D')": w},
        (
            "convolution whose kernel covers the map",
            y[:, 0, 0],
            "xᵀ w, flattened in C order",
            x.reshape(-1) @ w.reshape(-1, D_out),
        ),
        ("∂z/∂w by complex steps", steps, "(2.21) of that convolution", dw.reshape(-1, D_out)),
    )


EQUATIONS = (
    Equation(
        "2.9'",
        "output size, any window",
        "H_(k+1) = floor((H_k + top + bottom − e (H' − 1) − 1) / s) + 1",
        _size,
    ),
    Equation(
        "any-window",
        "stride, padding, dilation",
        "with the M of (2.16'), (2.17'), formulas (2.9)–(2.30) hold",
        _any_window,
    ),
    Equation("same", "same padding", "the least total with ⌈H / s⌉ outputs, its smaller half first", _same),
    Equation("groups", "groups", "C = blockdiag(C_g), ∂z/∂C_g = φ_gᵀ ∂z/∂y_g", _groups),
    Equation("bias", "bias", "y = φ(x) C + 1 bᵀ, ∂z/∂b = (∂z/∂y)ᵀ 1", _bias),
    Equation("batch", "batch", "(2.21) sums over the images, (2.28) is per image", _batch),
    Equation(
        "layout",
        "channels last",
        "y_channels-last = (Π φ Qᵀ) (Q C), with one permutation Π of pixels, one Q of taps",
        _layout,
    ),
    Equation(
        "dense",
        "fully connected layer",
        "a convolution whose kernel covers the whole map (section 3)",
        _dense,
    ),
)
