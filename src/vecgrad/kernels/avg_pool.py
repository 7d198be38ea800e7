"""Average pooling and its gradient, channels in lanes."""

from __future__ import annotations

from vecgrad.kernels import access, pool, windows
from vecgrad.kernels.access import Block, Carried, Cursor
from vecgrad.kernels.builder import Builder, Value
from vecgrad.kernels.expression import Formula, cost
from vecgrad.kernels.offer import Offer, Refusal
from vecgrad.spec.geometry import Window
from vecgrad.spec.kernel import AvgPoolDxSpec, AvgPoolSpec
from vecgrad.spec.machine import Machine

# Vectors of one pooled pixel that are divided and spread together over a large window.
_SPREAD = 4
# Sums of a rim window that run side by side: an addition takes about four cycles.
_CHAINS = 4


def offer(spec: AvgPoolSpec, machine: Machine) -> Offer | Refusal:
    name, g, epilogue = "avg_pool.windows", spec.window, spec.epilogue
    if reason := pool.refusal(g, spec.input, spec.output, epilogue.inputs, spec.output, spec.count_padding):
        return Refusal(name, reason)
    work, inner = g.taps + 1 + cost([epilogue.expr]), pool.inner_outputs(g)
    return pool.offer(name, machine, spec.output, work, inner, (spec.input, *epilogue.inputs), (spec.output,))


def generate(spec: AvgPoolSpec, machine: Machine) -> str:
    g, inputs = spec.window, spec.epilogue.inputs
    pixels_in, pixels_out = g.in_size[0] * g.in_size[1], g.out_size[0] * g.out_size[1]
    b = Builder(machine, spec.input.dtype)
    formula = Formula(b, [spec.epilogue.expr], spec.scalars)
    cursors = [access.cursor(b, 0, spec.input, pixels_in)]
    cursors += [access.cursor(b, 1 + n, layout, pixels_out) for n, layout in enumerate(inputs)]
    cursors.append(access.cursor(b, 1 + len(inputs), spec.output, pixels_out, ahead=False))
    last_exact = access.exact(b, (spec.input, *inputs), (spec.output,))

    def store(there: list[Cursor], p: Value, q: Value, blocks: list[Block], means: list[Value]) -> None:
        pixel = b.add(b.mul(p, g.out_size[1]), q)
        *others, y = (c.pixel(pixel).over(blocks) for c in there[1:])
        for number, mean in enumerate(means):
            y.write(number, formula.write([mean, *(c.read(number) for c in others)])[0])

    def inner(there: list[Cursor], p: Value, q: Value) -> None:
        zero = b.int64(0)
        corner = there[0].pixel(pool.source(b, g, p, q, zero, zero))
        (R, S), (down, right) = g.kernel, g.dilation
        steps = [r * down * g.cols.size + s * right for r in range(R) for s in range(S)]

        def vector(blocks: list[Block]) -> None:
            total = pool.total(b, [corner.pixel(step).over(blocks).read(0) for step in steps])
            store(there, p, q, blocks, [b.fdiv(total, b.number(g.taps))])

        access.each_group(b, spec.input.channels, last_exact, 1, vector)

    def rim(there: list[Cursor], p: Value, q: Value) -> None:
        (r0, r1), (s0, s1) = windows.taps(b, g.rows, p), windows.taps(b, g.cols, q)
        divisor = _divisor(b, g, p, q, spec.count_padding)

        def vectors(blocks: list[Block]) -> None:
            with b.loop(r0, r1, 1, [b.zero()] * len(blocks)) as down:
                with b.loop(s0, s1, 1, down.carried) as right:
                    x = there[0].pixel(pool.source(b, g, p, q, down.i, right.i)).over(blocks)
                    right.again(
                        *(b.fadd(total, x.read(number)) for number, total in enumerate(right.carried))
                    )
                down.again(*right.results)
            store(there, p, q, blocks, [b.fdiv(total, divisor) for total in down.results])

        access.each_group(b, spec.input.channels, last_exact, _CHAINS, vectors)

    windows.each_output(b, g, cursors, g.taps <= pool.WRITTEN_OUT, inner, rim)
    return b.function(spec.name)


def offer_dx(spec: AvgPoolDxSpec, machine: Machine) -> Offer | Refusal:
    name, g, epilogue = "avg_pool.gather", spec.window, spec.epilogue
    if reason := pool.refusal(g, spec.dx, spec.dy, epilogue.inputs, spec.dx, spec.count_padding):
        return Refusal(name, reason)
    work = -(-2 * g.taps // (g.stride[0] * g.stride[1])) + cost([epilogue.expr])
    inner = 1.0 if _covers(g) else pool.inner_inputs(g, _cells(g, spec.count_padding))
    return pool.offer(name, machine, spec.dx, work, inner, (spec.dy, *epilogue.inputs), (spec.dx,))


def _cells(g: Window, count_padding: bool) -> tuple[windows.Cells, windows.Cells] | None:
    """Cells all of whose windows have one divisor."""
    if count_padding:
        return pool.cells(g, (0, g.out_size[0]), (0, g.out_size[1]))
    return pool.cells(g, windows.inside(g.rows), windows.inside(g.cols))


def _covers(g: Window) -> bool:
    """Whether each input pixel lies in one window, and windows hold nothing else."""
    return all(
        a.dilation == 1 and a.stride == a.kernel and a.before == 0 and a.size == a.out * a.stride
        for a in (g.rows, g.cols)
    )


def generate_dx(spec: AvgPoolDxSpec, machine: Machine) -> str:
    g, inputs = spec.window, spec.epilogue.inputs
    Q, W = g.out_size[1], g.cols.size
    pixels_in, pixels_out = g.in_size[0] * W, g.out_size[0] * Q
    b = Builder(machine, spec.dx.dtype)
    formula = Formula(b, [spec.epilogue.expr], spec.scalars)
    cursors = [access.cursor(b, 0, spec.dy, pixels_out)]
    cursors += [access.cursor(b, 1 + n, layout, pixels_in) for n, layout in enumerate(inputs)]
    cursors.append(access.cursor(b, 1 + len(inputs), spec.dx, pixels_in, ahead=False))
    last_exact = access.exact(b, (spec.dy, *inputs), (spec.dx,))
    cells = _cells(g, spec.count_padding)

    def spread(there: list[Cursor], p: Value, q: Value) -> None:
        output = there[0].pixel(b.add(b.mul(p, Q), q))
        corner = b.add(b.mul(p, g.stride[0] * W), b.mul(q, g.stride[1]))

        def vectors(blocks: list[Block]) -> None:
            dy = output.over(blocks)
            shares = [b.fdiv(dy.read(number), b.number(g.taps)) for number in range(len(blocks))]
            with b.loop(0, g.stride[0]) as down:
                first = b.add(corner, b.mul(down.i, W))

                def pixel(column: Value, carried: Carried) -> Carried:
                    places = [c.pixel(b.add(first, column)) for c in there[1:]]
                    for block, share in zip(blocks, shares, strict=True):
                        pool.store(formula, places, [block], share)
                    return carried

                access.unrolled(b, g.stride[1], 2, pixel)

        access.each_group(b, spec.dx.channels, last_exact, _SPREAD, vectors)

    def inner(there: list[Cursor], k: Value, m: Value) -> None:
        assert cells is not None
        output = there[0].pixel(b.add(b.mul(k, Q), m))
        first = b.sub(b.mul(k, g.stride[0]), g.rows.before), b.sub(b.mul(m, g.stride[1]), g.cols.before)
        places = [c.pixel(b.add(b.mul(first[0], W), first[1])) for c in there[1:]]

        def vector(blocks: list[Block]) -> None:
            known: dict[int, Value] = {}

            def share(back: int) -> Value:
                if back not in known:
                    known[back] = b.fdiv(output.pixel(-back).over(blocks).read(0), b.number(g.taps))
                return known[back]

            for i in range(g.stride[0]):
                for j in range(g.stride[1]):
                    terms = [
                        share(up * Q + left) for up, _ in cells[0].reads(i) for left, _ in cells[1].reads(j)
                    ]
                    there_too = [c.pixel(i * W + j) for c in places]
                    pool.store(formula, there_too, blocks, pool.total(b, terms))

        access.each_group(b, spec.dx.channels, last_exact, 1, vector)

    def rim(there: list[Cursor], h: Value, w: Value) -> None:
        (p0, p1), (q0, q1) = windows.holders(b, g.rows, h), windows.holders(b, g.cols, w)
        places = [c.pixel(b.add(b.mul(h, W), w)) for c in there[1:]]

        def vector(blocks: list[Block]) -> None:
            with b.loop(p0, p1, 1, [b.zero()]) as down:
                _, row_there = windows.tap_of(b, g.rows, h, down.i)
                with b.loop(q0, q1, 1, down.carried) as right:
                    _, column_there = windows.tap_of(b, g.cols, w, right.i)
                    dy = there[0].pixel(b.add(b.mul(down.i, Q), right.i)).over(blocks).read(0)
                    share = b.fdiv(dy, _divisor(b, g, down.i, right.i, spec.count_padding))
                    for there_is in (row_there, column_there):
                        share = b.select(there_is, share, b.zero()) if there_is else share
                    right.again(b.fadd(right.carried[0], share))
                down.again(*right.results)
            pool.store(formula, places, blocks, down.results[0])

        access.each_group(b, spec.dx.channels, last_exact, 1, vector)

    if cells is None and _covers(g):
        windows.each_window(b, g, cursors, spread)
    else:
        windows.each_input(b, g, cells, cursors, inner, rim)
    return b.function(spec.name)


def _divisor(b: Builder, g: Window, p: Value, q: Value, count_padding: bool) -> Value:
    """The number of cells of window (p, q) that count, in every lane."""
    if count_padding:
        return b.number(g.taps)
    (r0, r1), (s0, s1) = windows.taps(b, g.rows, p), windows.taps(b, g.cols, q)
    count = b.mul(b.sub(r1, r0), b.sub(s1, s0))
    return b.splat(b.let(b.real, f"sitofp {count} to {b.real}"))
