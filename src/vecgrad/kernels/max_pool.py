"""Max pooling (4.2) and its gradient (4.6), channels in lanes."""

from __future__ import annotations

from vecgrad.kernels import access, pool, windows
from vecgrad.kernels._choice import better, narrow, ordinal, wide
from vecgrad.kernels.access import Block, Cursor
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.expression import Formula, cost
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.spec.geometry import Window
from vecgrad.spec.kernel import MaxPoolDxSpec, MaxPoolSpec
from vecgrad.spec.machine import Machine
from vecgrad.spec.tensor import Layout


def offer(spec: MaxPoolSpec, machine: Machine) -> Offer | Refusal:
    name, g, epilogue = "max_pool.windows", spec.window, spec.epilogue
    reason = pool.refusal(g, spec.input, spec.output, epilogue.inputs, spec.output)
    if reason := reason or _index_refusal(g, spec.index, spec.output):
        return Refusal(name, reason)
    work, inner = 3 * g.taps + cost([epilogue.expr]), pool.inner_outputs(g)
    reads = (spec.input, *epilogue.inputs)
    return pool.offer(name, machine, spec.output, work, inner, reads, (spec.output, spec.index))


def _index_refusal(g: Window, index: Layout, y: Layout) -> str | None:
    if index.shape != y.shape or not index.batched:
        return f"the index has the shape {index.shape}, the output {y.shape}"
    if index.dtype != "int32" and not (index.dtype == "uint8" and g.taps <= 255):
        return f"{index.dtype} cannot number the {g.taps} cells of a window"
    return None


def generate(spec: MaxPoolSpec, machine: Machine) -> str:
    g, inputs = spec.window, spec.epilogue.inputs
    pixels_in, pixels_out = g.in_size[0] * g.in_size[1], g.out_size[0] * g.out_size[1]
    b = Builder(machine, spec.input.dtype)
    formula = Formula(b, [spec.epilogue.expr], spec.scalars)
    cursors = [access.cursor(b, 0, spec.input, pixels_in)]
    cursors += [access.cursor(b, 1 + n, layout, pixels_out) for n, layout in enumerate(inputs)]
    for n, layout in enumerate((spec.output, spec.index)):
        cursors.append(access.cursor(b, 1 + len(inputs) + n, layout, pixels_out, ahead=False))
    last_exact = access.exact(b, (spec.input, *inputs), (spec.output, spec.index))

    def store(
        there: list[Cursor], p: Value, q: Value, blocks: list[Block], best: Value, which: Value
    ) -> None:
        pixel = b.add(b.mul(p, g.out_size[1]), q)
        *others, y, index = (c.pixel(pixel).over(blocks) for c in there[1:])
        y.write(0, formula.write([best, *(c.read(0) for c in others)])[0])
        index.write(0, narrow(b, which, spec.index.dtype))

    def inner(there: list[Cursor], p: Value, q: Value) -> None:
        zero = b.int64(0)
        corner = there[0].pixel(pool.source(b, g, p, q, zero, zero))

        def vector(blocks: list[Block]) -> None:
            steps = [
                r * g.rows.dilation * g.cols.size + s * g.cols.dilation for r, s in g.taps_column_major()
            ]
            best, which = corner.over(blocks).read(0), ordinal(b, 0)
            for number, step in enumerate(steps[1:], start=1):
                cell = corner.pixel(step).over(blocks).read(0)
                best, which = better(b, best, which, cell, ordinal(b, number))
            store(there, p, q, blocks, best, which)

        access.each_group(b, spec.input.channels, last_exact, 1, vector)

    def rim(there: list[Cursor], p: Value, q: Value) -> None:
        (r0, r1), (s0, s1) = windows.taps(b, g.rows, p), windows.taps(b, g.cols, q)

        def vector(blocks: list[Block]) -> None:
            def cell(r: Value, s: Value) -> tuple[Value, Value]:
                value = there[0].pixel(pool.source(b, g, p, q, r, s)).over(blocks).read(0)
                return value, ordinal(b, b.add(b.mul(s, g.rows.kernel), r))

            # The first cell is met again within the loops: compared with itself it changes nothing.
            with b.loop(s0, s1, 1, cell(r0, s0)) as right:
                with b.loop(r0, r1, 1, right.carried) as down:
                    best, which = down.carried
                    down.again(*better(b, best, which, *cell(down.i, right.i)))
                right.again(*down.results)
            best, which = right.results
            store(there, p, q, blocks, best, which)

        access.each_group(b, spec.input.channels, last_exact, 1, vector)

    windows.each_output(b, g, cursors, g.taps <= pool.WRITTEN_OUT, inner, rim)
    return b.function(spec.name)


def offer_dx(spec: MaxPoolDxSpec, machine: Machine) -> Offer | Refusal:
    name, g, epilogue = "max_pool.gather", spec.window, spec.epilogue
    reason = pool.refusal(g, spec.dx, spec.dy, epilogue.inputs, spec.dx)
    if reason := reason or _index_refusal(g, spec.index, spec.dy):
        return Refusal(name, reason)
    work = -(-3 * g.taps // (g.stride[0] * g.stride[1])) + cost([epilogue.expr])
    inner = pool.inner_inputs(g, _cells(g))
    return pool.offer(
        name, machine, spec.dx, work, inner, (spec.dy, spec.index, *epilogue.inputs), (spec.dx,)
    )


def _cells(g: Window) -> tuple[windows.Cells, windows.Cells] | None:
    return pool.cells(g, (0, g.out_size[0]), (0, g.out_size[1]))


def generate_dx(spec: MaxPoolDxSpec, machine: Machine) -> str:
    g, inputs = spec.window, spec.epilogue.inputs
    R, Q, W = g.rows.kernel, g.out_size[1], g.cols.size
    pixels_in, pixels_out = g.in_size[0] * W, g.out_size[0] * Q
    b = Builder(machine, spec.dx.dtype)
    formula = Formula(b, [spec.epilogue.expr], spec.scalars)
    cursors = [
        access.cursor(b, 0, spec.dy, pixels_out),
        access.cursor(b, 1, spec.index, pixels_out, ahead=False),
    ]
    cursors += [access.cursor(b, 2 + n, layout, pixels_in) for n, layout in enumerate(inputs)]
    cursors.append(access.cursor(b, 2 + len(inputs), spec.dx, pixels_in, ahead=False))
    last_exact = access.exact(b, (spec.dy, *inputs), (spec.dx, spec.index))
    cells = _cells(g)

    def chosen(dy: Value, index: Value, number: Value) -> Value:
        return b.select(b.let(f"<{b.lanes} x i1>", f"icmp eq {index}, {number.text}"), dy, b.zero())

    def inner(there: list[Cursor], k: Value, m: Value) -> None:
        assert cells is not None
        outputs = [c.pixel(b.add(b.mul(k, Q), m)) for c in there[:2]]
        first = b.sub(b.mul(k, g.stride[0]), g.rows.before), b.sub(b.mul(m, g.stride[1]), g.cols.before)
        places = [c.pixel(b.add(b.mul(first[0], W), first[1])) for c in there[2:]]

        def vector(blocks: list[Block]) -> None:
            known: dict[int, tuple[Value, Value]] = {}

            def window(back: int) -> tuple[Value, Value]:
                if back not in known:
                    dy, index = (c.pixel(-back).over(blocks) for c in outputs)
                    known[back] = dy.read(0), wide(b, index.raw(0))
                return known[back]

            for i in range(g.stride[0]):
                for j in range(g.stride[1]):
                    terms = [
                        chosen(*window(up * Q + left), ordinal(b, s * R + r))
                        for up, r in cells[0].reads(i)
                        for left, s in cells[1].reads(j)
                    ]
                    there_too = [c.pixel(i * W + j) for c in places]
                    pool.store(formula, there_too, blocks, pool.total(b, terms))

        access.each_group(b, spec.dx.channels, last_exact, 1, vector)

    def rim(there: list[Cursor], h: Value, w: Value) -> None:
        (p0, p1), (q0, q1) = windows.holders(b, g.rows, h), windows.holders(b, g.cols, w)
        places = [c.pixel(b.add(b.mul(h, W), w)) for c in there[2:]]

        def vector(blocks: list[Block]) -> None:
            with b.loop(p0, p1, 1, [b.zero()]) as down:
                r, row_there = windows.tap_of(b, g.rows, h, down.i)
                with b.loop(q0, q1, 1, down.carried) as right:
                    s, column_there = windows.tap_of(b, g.cols, w, right.i)
                    number = b.add(b.mul(s, R), r)
                    for there_is in (row_there, column_there):
                        number = b.select(there_is, number, b.int64(-1)) if there_is else number
                    dy, index = (c.pixel(b.add(b.mul(down.i, Q), right.i)).over(blocks) for c in there[:2])
                    term = chosen(dy.read(0), wide(b, index.raw(0)), ordinal(b, number))
                    right.again(b.fadd(right.carried[0], term))
                down.again(*right.results)
            pool.store(formula, places, blocks, down.results[0])

        access.each_group(b, spec.dx.channels, last_exact, 1, vector)

    windows.each_input(b, g, cells, cursors, inner, rim)
    return b.function(spec.name)
