"""The text of a function: named instructions, integers that count and address, and the blocks between which control flows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from vecgrad.kernels._values import Index, Loop, Value


class Flow:
    """Lines of a function's body, in the order in which they are written."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._count = 0
        self._block = "entry"

    def _name(self, stem: str = "v") -> str:
        self._count += 1
        return f"%{stem}{self._count}"

    def emit(self, line: str) -> None:
        self._lines.append("  " + line)

    def let(self, type_: str, instruction: str) -> Value:
        """``%name = instruction`` as a value of ``type_``."""
        name = self._name()
        self.emit(f"{name} = {instruction}")
        return Value(name, type_)

    def _label(self, name: str) -> None:
        self._lines.append(f"{name}:")
        self._block = name

    @staticmethod
    def int64(value: int) -> Value:
        return Value(str(value), "i64")

    def _index(self, value: Index) -> Value:
        return self.int64(value) if isinstance(value, int) else value

    @contextmanager
    def loop(
        self,
        start: Index,
        stop: Index,
        step: int = 1,
        carried: Sequence[Value] = (),
        at_least_once: bool | None = None,
    ) -> Iterator[Loop]:
        """for i = start, start + step, … < stop. The test is at the bottom where a first turn is certain."""
        certain = at_least_once
        if certain is None:
            certain = isinstance(start, int) and isinstance(stop, int) and start < stop
        first, last = self._index(start), self._index(stop)
        tag = self._name("L")[1:]
        before, head, body, latch, after = (
            self._block,
            f"{tag}.head",
            f"{tag}.body",
            f"{tag}.latch",
            f"{tag}.exit",
        )
        self.emit(f"br label %{head}")
        self._label(head)
        i = Value(f"%{tag}.i", "i64")
        phis = [Value(f"%{tag}.c{n}", v.type) for n, v in enumerate(carried)]
        self.emit(f"{i.text} = phi i64 [ {first.text}, %{before} ], [ %{tag}.next, %{latch} ]")
        places = []
        for phi, value in zip(phis, carried, strict=True):
            places.append(len(self._lines))
            self.emit(f"{phi.text} = phi {phi.type} [ {value.text}, %{before} ]")
        if not certain:
            self.emit(f"%{tag}.in = icmp slt i64 {i.text}, {last.text}")
            self.emit(f"br i1 %{tag}.in, label %{body}, label %{after}")
            self._label(body)
        loop = Loop(i, phis)
        yield loop
        following = loop._next if loop._next is not None else []
        assert len(following) == len(phis), "a loop's body must say what it carries on"
        self.emit(f"br label %{latch}")
        self._label(latch)
        self.emit(f"%{tag}.next = add nsw i64 {i.text}, {step}")
        for place, phi, value in zip(places, phis, following, strict=True):
            assert value.type == phi.type
            self._lines[place] += f", [ {value.text}, %{latch} ]"
        if certain:
            self.emit(f"%{tag}.in = icmp slt i64 %{tag}.next, {last.text}")
            self.emit(f"br i1 %{tag}.in, label %{head}, label %{after}")
            loop.results = following
        else:
            self.emit(f"br label %{head}")
            loop.results = phis
        self._label(after)

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """The body runs if the condition holds; it makes no values for later."""
        tag = self._name("W")[1:]
        self.emit(f"br i1 {condition.text}, label %{tag}.then, label %{tag}.done")
        self._label(f"{tag}.then")
        yield
        self.emit(f"br label %{tag}.done")
        self._label(f"{tag}.done")

    def either(
        self, condition: Value, make: Callable[[], Sequence[Value]], otherwise: Sequence[Value]
    ) -> list[Value]:
        """What ``make`` computes where the condition holds, elsewhere the values ``otherwise``."""
        tag, before = self._name("E")[1:], self._block
        self.emit(f"br i1 {condition.text}, label %{tag}.then, label %{tag}.done")
        self._label(f"{tag}.then")
        made, then = make(), self._block
        self.emit(f"br label %{tag}.done")
        self._label(f"{tag}.done")
        return [
            self.let(x.type, f"phi {x.type} [ {x.text}, %{then} ], [ {y.text}, %{before} ]")
            for x, y in zip(made, otherwise, strict=True)
        ]
