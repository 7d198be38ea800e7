"""Section 4: pooling, (4.1)–(4.6), and its general form in section 6."""

from __future__ import annotations

from typing import Any

import numpy as np

from vecgrad.reference import ops, pooling
from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Equation, Trial, trial
from vecgrad.reference.calculus import gradient, jacobian
from vecgrad.reference.layout import to_channels_last, to_paper
from vecgrad.reference.tensors import unvec, vec
from vecgrad.spec.geometry import Axis, Window


def _tiles(draw: Draw) -> Window:
    """Filters that tile the image: stride = filter size, which divides the image."""
    rows, cols = (
        Axis(filter_size * draw.size(1, 3, small=2), filter_size, filter_size)
        for filter_size in (draw.size(1, 3, small=2), draw.size(1, 3, small=2))
    )
    return Window(rows, cols)


def _overlapping(draw: Draw) -> Window:
    """Stride below the filter size, in one direction at least."""
    if draw.small:
        return Window(Axis(3, 2), Axis(3, 2))
    return Window(Axis(draw.integer(3, 6), 3, draw.integer(1, 2)), Axis(draw.integer(2, 5), 2))


def _image(draw: Draw, g: Window) -> Array:
    return draw.distinct(draw.size(1, 3, small=1), *g.in_size)


def _by_tiles(x: Array, g: Window) -> Array:
    """(D, P, Q, R·S): the entries of each tile, row by row."""
    (P, Q), (R, S) = g.out_size, g.kernel
    return x.reshape(len(x), P, R, Q, S).transpose(0, 1, 3, 2, 4).reshape(len(x), P, Q, R * S)


def _max_by_loops(x: Array, g: Window) -> Array:
    return pooling.max_pool_by_loops(x, g)[0]


def _half_square(y: Array, t: Array) -> Any:
    return np.sum((y - t) ** 2) / 2


def _sizes(draw: Draw) -> Trial:
    g = _tiles(draw)
    x = _image(draw, g)
    (H, W), (R, S) = g.in_size, g.kernel
    formula = (len(x), H // R, W // S)
    counted = (len(x), len(range(0, H - R + 1, R)), len(range(0, W - S + 1, S)))
    return trial(
        {"x": x, "filter": (R, S)},
        ("size of y", pooling.max_pool(x, g).shape, "D, H_k / H, W_k / W", formula),
        ("filters that fit, counted", counted, "D, H_k / H, W_k / W", formula),
    )


def _maximum(draw: Draw) -> Trial:
    g = _tiles(draw)
    x, tied = _image(draw, g), np.sign(draw.integers(1, *g.in_size))
    R, S = g.kernel
    chosen = []
    for j_out in range(g.out_size[1]):
        for i_out in range(g.out_size[0]):
            cells = [(R * i_out + i, S * j_out + j) for i in range(R) for j in range(S)]
            i, j = min(cells, key=lambda cell: (-tied[0][cell], cell[1], cell[0]))
            chosen.append(i + g.in_size[0] * j)
    return trial(
        {"x": x, "x with ties": tied},
        ("y", pooling.max_pool(x, g), "max over each tile", _by_tiles(x, g).max(axis=-1)),
        ("average", pooling.average_pool(x, g, False), "mean over each tile", _by_tiles(x, g).mean(axis=-1)),
        (
            "entry chosen among ties",
            pooling.choices(tied, g).columns,
            "smallest column, then smallest row",
            chosen,
        ),
    )


def _chain(draw: Draw) -> Trial:
    g = _tiles(draw)
    x = _image(draw, g)
    t = draw.reals(len(x), *g.out_size)
    row = vec(gradient(lambda x: _half_square(_by_tiles(x, g).max(axis=-1), t), x))[None]
    product = vec(_max_by_loops(x, g) - t)[None] @ jacobian(lambda x: _max_by_loops(x, g), x)
    return trial(
        {"x": x, "t, with z = ½ Σ (y − t)²": t},
        ("∂z/∂vec(x)ᵀ by complex steps", row, "∂z/∂vec(y)ᵀ · ∂vec(y)/∂vec(x)ᵀ", product),
    )


def _selection(draw: Draw) -> Trial:
    g = _tiles(draw)
    x = _image(draw, g)
    S = pooling.choices(x, g)
    return trial(
        {"x": x},
        ("vec(y), y by loops", vec(_max_by_loops(x, g)), "S vec(x)", S @ vec(x)),
        ("∂vec(y)/∂vec(x)ᵀ by complex steps", jacobian(lambda x: _max_by_loops(x, g), x), "S", S.dense()),
    )


def _gradient(draw: Draw) -> Trial:
    g = _tiles(draw)
    x = _image(draw, g)
    t = draw.reals(len(x), *g.out_size)
    by_steps = gradient(lambda x: _half_square(_max_by_loops(x, g), t), x)
    dy = _max_by_loops(x, g) - t
    closed = pooling.choices(x, g).dense().T @ vec(dy)
    return trial(
        {"x": x, "t, with z = ½ Σ (y − t)²": t},
        ("∂z/∂vec(x) by complex steps", vec(by_steps), "Sᵀ ∂z/∂vec(y)", closed),
    )


def _overlap(draw: Draw) -> Trial:
    g = _overlapping(draw)
    x = _image(draw, g)
    y, A = pooling.max_pool_by_loops(x, g)
    t = draw.reals(*y.shape)
    by_steps = gradient(lambda x: _half_square(_max_by_loops(x, g), t), x)
    by_matrix = pooling.max_pool_dx(y - t, pooling.choices(x, g), g)
    name = "∂z/∂x by complex steps"
    return trial(
        {"x": x, "t, with z = ½ Σ (y − t)²": t},
        (name, by_steps, "Σ over A_(d,i,j) of ∂z/∂y", pooling.max_pool_dx_by_sets(y - t, A, g)),
        (name, by_steps, "Sᵀ ∂z/∂vec(y), in x's shape", by_matrix),
    )


def _general_max(draw: Draw) -> Trial:
    g = draw.window()
    x = _image(draw, g) - 1000  # below the 0 of a padding that were wrongly chosen
    y, A = pooling.max_pool_by_loops(x, g)
    dy = draw.reals(*y.shape)
    fast, index = ops.max_pool(to_channels_last(x[None]), g)
    fast_dx = ops.max_pool_dx(to_channels_last(dy[None]), index, g)
    return trial(
        {"x": x, "∂z/∂y": dy},
        ("y by loops over image cells", y, "tap by tap", to_paper(fast)[0]),
        ("y by loops over image cells", y, "S vec(x)", pooling.max_pool(x, g)),
        ("∂z/∂x by the sets A", pooling.max_pool_dx_by_sets(dy, A, g), "tap by tap", to_paper(fast_dx)[0]),
    )


def _general_average(draw: Draw) -> Trial:
    g = draw.window()
    x = _image(draw, g)
    dy = draw.reals(len(x), *g.out_size)
    compared: list[tuple[str, object, str, object]] = []
    for count_padding, name in ((False, "image cells"), (True, "filter size")):
        A = _average_by_loops(g, len(x), count_padding)
        fast = ops.avg_pool(to_channels_last(x[None]), g, count_padding)
        fast_dx = ops.avg_pool_dx(to_channels_last(dy[None]), g, count_padding)
        dx = unvec(A.T @ vec(dy), x.shape)
        compared += [
            (
                f"y over {name}, weights by loops",
                unvec(A @ vec(x), dy.shape),
                "tap by tap",
                to_paper(fast)[0],
            ),
            (f"y over {name}, weights by loops", A, "by M", pooling.average_matrix(g, len(x), count_padding)),
            (f"∂z/∂x over {name}, weights transposed", dx, "tap by tap", to_paper(fast_dx)[0]),
        ]
    return trial({"x": x, "∂z/∂y": dy}, *compared)


def _average_by_loops(g: Window, channels: int, count_padding: bool) -> Array:
    """The weight of each input entry in each output entry, cell by cell."""
    (P, Q), (H, W) = g.out_size, g.in_size
    A = np.zeros((channels * P * Q, channels * H * W))
    for d in range(channels):
        for i_out in range(P):
            for j_out in range(Q):
                rows = [g.rows.source(i_out, r) for r in range(g.rows.kernel)]
                cols = [g.cols.source(j_out, s) for s in range(g.cols.kernel)]
                cells = [(i, j) for i in rows for j in cols if i is not None and j is not None]
                divisor = len(rows) * len(cols) if count_padding else len(cells)
                for i, j in cells:
                    A[P * Q * d + P * j_out + i_out, H * W * d + H * j + i] = 1 / divisor
    return A


EQUATIONS = (
    Equation("4.1", "size", "D_(k+1) = D_k, H_(k+1) = H_k / H, W_(k+1) = W_k / W", _sizes),
    Equation(
        "4.2",
        "max and average",
        "y_(d,i',j') = max over i < H, j < W of x_(d, i'H+i, j'W+j); ties: first column",
        _maximum,
    ),
    Equation("4.3", "chain rule", "∂z/∂vec(x)ᵀ = ∂z/∂vec(y)ᵀ · ∂vec(y)/∂vec(x)ᵀ", _chain),
    Equation("4.4", "the matrix S", "vec(y) = S vec(x), ∂vec(y)/∂vec(x)ᵀ = S", _selection),
    Equation("4.5", "gradient", "∂z/∂vec(x) = Sᵀ ∂z/∂vec(y)", _gradient),
    Equation(
        "4.6", "gradient where windows overlap", "(∂z/∂x)_(d,i,j) = Σ over A_(d,i,j) of ∂z/∂y", _overlap
    ),
)
GENERAL = (
    Equation(
        "max-pooling",
        "any window",
        "padding is −∞ and never chosen; gradients add where windows overlap",
        _general_max,
    ),
    Equation(
        "average-pooling",
        "any window",
        "Σ over the window / image cells (or / filter size); gradient: that weight",
        _general_average,
    ),
)
