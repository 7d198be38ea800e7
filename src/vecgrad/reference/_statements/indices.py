"""Section 2.2, index maps: where the entries of φ(x) come from, (2.14)–(2.17) and (2.16'), (2.17').

φ of a coded image tells: its entries are their own row (or column) numbers.
"""

from __future__ import annotations

import numpy as np

from vecgrad.reference._arrays import Array
from vecgrad.reference._statements._draw import Draw
from vecgrad.reference._statements._record import Equation, Trial, trial
from vecgrad.reference.indexmap import m
from vecgrad.reference.unfold import phi
from vecgrad.spec.geometry import Window


def _output_pixel(draw: Draw) -> Trial:
    g = draw.plain_window()
    (P, Q), (R, S) = g.out_size, g.kernel
    x = draw.distinct(1, *g.in_size)
    found, formula = np.empty((P, Q)), np.empty((P, Q))
    for i_out in range(P):
        for j_out in range(Q):
            first = x[0, i_out, j_out]
            found[i_out, j_out] = np.flatnonzero(phi(x, g)[:, 0] == first).item()
            formula[i_out, j_out] = i_out + P * j_out
    name = "the row of φ(x) that holds output pixel (i, j)'s window"
    return trial({"x": x, "kernel": (R, S)}, (name, found, "p = i_(k+1) + H_(k+1) j_(k+1)", formula))


def _kernel_entry(draw: Draw) -> Trial:
    g, D = draw.plain_window(), draw.size(1, 3, small=2)
    R, S = g.kernel
    x = draw.distinct(D, *g.in_size)
    found, formula = np.empty((D, R, S)), np.empty((D, R, S))
    for d in range(D):
        for i in range(R):
            for j in range(S):
                found[d, i, j] = np.flatnonzero(phi(x, g)[0] == x[d, i, j]).item()
                formula[d, i, j] = R * S * d + R * j + i
    name = "the column of φ(x) that kernel entry (d, i, j) multiplies"
    return trial({"x": x, "kernel": (R, S)}, (name, found, "q = H' W' d + H' j + i", formula))


def _coordinates(g: Window, channels: int, rows: bool) -> Trial:
    """The row (or column) number + 1 behind each entry of φ, three ways; 0 stands for padding."""
    coded = np.broadcast_to(np.arange(1.0, 1 + g.in_size[0])[:, None], (channels, *g.in_size))
    axis, other, which = g.rows, g.cols, 1
    if not rows:
        coded = np.broadcast_to(np.arange(1.0, 1 + g.in_size[1]), (channels, *g.in_size))
        axis, other, which = g.cols, g.rows, 2
    formula, by_map = (
        _by_formula(g, channels, rows),
        np.zeros((g.out_size[0] * g.out_size[1], g.taps * channels)),
    )
    for p in range(by_map.shape[0]):
        for q in range(by_map.shape[1]):
            entry = m(p, q, g)
            by_map[p, q] = 0 if entry is None else 1 + entry[which]
    letter = "i_k" if rows else "j_k"
    return trial(
        {"(size, kernel, stride, before, after, dilation)": [_numbers(axis), _numbers(other)]},
        (f"1 + {letter} read from φ of a coded image", phi(coded, g), "by the formula", formula),
        (f"1 + {letter} by the map m(p, q)", by_map, "by the formula", formula),
    )


def _by_formula(g: Window, channels: int, rows: bool) -> Array:
    """1 + s p + e r − before for each (p, q), 0 where either coordinate is outside."""
    (P, Q), (R, S), (H, W) = g.out_size, g.kernel, g.in_size
    out = np.zeros((P * Q, R * S * channels))
    for i_out in range(P):
        for j_out in range(Q):
            for d in range(channels):
                for r in range(R):
                    for s in range(S):
                        i = g.rows.stride * i_out + g.rows.dilation * r - g.rows.before
                        j = g.cols.stride * j_out + g.cols.dilation * s - g.cols.before
                        if 0 <= i < H and 0 <= j < W:
                            out[i_out + P * j_out, R * S * d + R * s + r] = 1 + (i if rows else j)
    return out


def _numbers(axis: object) -> list[int]:
    return list(vars(axis).values())


def _rows(draw: Draw) -> Trial:
    return _coordinates(draw.plain_window(), draw.size(1, 2, small=1), rows=True)


def _cols(draw: Draw) -> Trial:
    return _coordinates(draw.plain_window(), draw.size(1, 2, small=1), rows=False)


def _rows_general(draw: Draw) -> Trial:
    return _coordinates(draw.window(), draw.size(1, 2, small=1), rows=True)


def _cols_general(draw: Draw) -> Trial:
    return _coordinates(draw.window(), draw.size(1, 2, small=1), rows=False)


EQUATIONS = (
    Equation("2.14", "rows of φ", "p = i_(k+1) + H_(k+1) j_(k+1)", _output_pixel),
    Equation("2.15", "columns of φ", "q = H' W' d + H' j + i", _kernel_entry),
    Equation("2.16", "input row", "i_k = i + i_(k+1)", _rows),
    Equation("2.17", "input column", "j_k = j + j_(k+1)", _cols),
)
GENERAL = (
    Equation(
        "2.16'",
        "input row, any window",
        "i_k = s_v i_(k+1) + e_v i − top; outside the image, 0",
        _rows_general,
    ),
    Equation(
        "2.17'", "input column, any window", "j_k = s_h j_(k+1) + e_h j − left; outside, 0", _cols_general
    ),
)
