"""A structured emitter of LLVM IR text: typed values, straight-line instructions, loops with carried values.

Kernels are written in their final form (explicit vectors, loops as they shall run), so that no pass
pipeline is needed: code generation alone gives the machine code.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from vecgrad.kernels._flow import Flow
from vecgrad.kernels._values import Index, Loop, Value
from vecgrad.spec.machine import ITEM_BYTES, Machine

__all__ = ["LLVM_TYPE", "PARAMETERS", "Builder", "Index", "Loop", "Value"]

PARAMETERS = "ptr noalias readonly %operands, ptr noalias readonly %scalars, ptr noalias %scratch, i64 %begin, i64 %end"
LLVM_TYPE = {"float32": "float", "float64": "double", "uint8": "i8", "int32": "i32"}


class Builder(Flow):
    """Writes one function. ``machine`` fixes the vector width and whether a multiply-add rounds once."""

    def __init__(self, machine: Machine, dtype: str = "float32") -> None:
        super().__init__()
        self.machine = machine
        self.dtype = dtype
        self.real = LLVM_TYPE[dtype]
        self.item = ITEM_BYTES[dtype]
        self.lanes = machine.lanes(dtype)
        self.vector = f"<{self.lanes} x {self.real}>"
        self._declared: dict[str, str] = {}

    # --- text -----------------------------------------------------------------------------------
    def call(self, type_: str, function: str, *arguments: Value, attributes: str = "") -> Value:
        """A call of an LLVM intrinsic, declared on first use."""
        self._declared[function] = f"declare {type_} @{function}({', '.join(a.type for a in arguments)})"
        text = f"call {type_} @{function}({', '.join(map(str, arguments))}){attributes}"
        if type_ == "void":
            self.emit(text)
            return Value("", "void")
        return self.let(type_, text)

    def function(self, name: str) -> str:
        """The whole module: this function and what it declares."""
        head = f"define void @{name}({PARAMETERS}) #0 {{\nentry:"
        attributes = 'attributes #0 = { nounwind "no-trapping-math"="true" "frame-pointer"="none" "prefer-vector-width"="512" }'
        body = "\n".join(self._lines)
        declared = "\n".join(self._declared[k] for k in sorted(self._declared))
        return f"{head}\n{body}\n  ret void\n}}\n\n{declared}\n{attributes}\n"

    # --- constants ------------------------------------------------------------------------------
    @staticmethod
    def int32(value: int) -> Value:
        return Value(str(value), "i32")

    def number(self, value: float, type_: str | None = None) -> Value:
        """A floating constant, exact, of a scalar or vector type (default: one vector)."""
        type_ = type_ or self.vector
        element = Value("", type_).element
        if element == "float":
            value = (
                struct.unpack("f", struct.pack("f", value))[0]
                if abs(value) <= 3.4028235677973366e38
                else value
            )
        bits = struct.unpack("<Q", struct.pack("<d", value))[0]
        return self.broadcast_constant(f"0x{bits:016X}", type_)

    @staticmethod
    def broadcast_constant(text: str, type_: str) -> Value:
        lanes, element = Value("", type_).lanes, Value("", type_).element
        if lanes == 1 and not type_.startswith("<"):
            return Value(text, type_)
        return Value("<" + ", ".join(f"{element} {text}" for _ in range(lanes)) + ">", type_)

    def zero(self, type_: str | None = None) -> Value:
        type_ = type_ or self.vector
        if type_.startswith("<"):
            return Value("zeroinitializer", type_)
        return Value("null" if type_ == "ptr" else "0.0" if type_ in ("float", "double") else "0", type_)

    # --- integers and addresses -------------------------------------------------------------------
    def _integer(self, op: str, a: Index, b: Index) -> Value:
        a, b = self._index(a), self._index(b)
        return self.let(a.type, f"{op} {a}, {b.text}")

    def add(self, a: Index, b: Index) -> Value:
        return self._index(a) if b == 0 else self._integer("add nsw", a, b)

    def sub(self, a: Index, b: Index) -> Value:
        return self._index(a) if b == 0 else self._integer("sub nsw", a, b)

    def mul(self, a: Index, b: Index) -> Value:
        return self._index(a) if b == 1 else self._integer("mul nsw", a, b)

    def div(self, a: Index, b: Index) -> Value:
        """Quotient of non-negative integers."""
        return self._index(a) if b == 1 else self._integer("udiv", a, b)

    def rem(self, a: Index, b: Index) -> Value:
        """Remainder of non-negative integers."""
        return self._integer("urem", a, b)

    def least(self, a: Index, b: Index) -> Value:
        a, b = self._index(a), self._index(b)
        return self.call("i64", "llvm.smin.i64", a, b)

    def most(self, a: Index, b: Index) -> Value:
        a, b = self._index(a), self._index(b)
        return self.call("i64", "llvm.smax.i64", a, b)

    def icmp(self, how: str, a: Index, b: Index) -> Value:
        a, b = self._index(a), self._index(b)
        return self.let("i1", f"icmp {how} {a}, {b.text}")

    def at(self, pointer: Value, offset: Index) -> Value:
        """``pointer`` moved by ``offset`` bytes."""
        if isinstance(offset, int) and offset == 0:
            return pointer
        return self.let(
            "ptr", f"getelementptr inbounds i8, ptr {pointer.text}, i64 {self._index(offset).text}"
        )

    def around(self, pointer: Value, offset: Index) -> Value:
        """As ``at``, where ``pointer`` or the result may lie outside of the memory that they belong to."""
        return self.let("ptr", f"getelementptr i8, ptr {pointer.text}, i64 {self._index(offset).text}")

    def entry(self, pointer: Value, index: Index, dtype: str | None = None) -> Value:
        """``pointer`` moved by ``index`` entries of ``dtype``."""
        item = ITEM_BYTES[dtype or self.dtype]
        if isinstance(index, int):
            return self.at(pointer, index * item)
        return self.let(
            "ptr", f"getelementptr inbounds i8, ptr {pointer.text}, i64 {self.mul(index, item).text}"
        )

    def operand(self, number: int) -> Value:
        """The ``number``-th operand's pointer."""
        return self.load("ptr", self.at(Value("%operands", "ptr"), 8 * number), 8)

    def scalar(self, number: int) -> Value:
        """Runtime scalar ``number``, rounded to the builder's dtype."""
        return self.rounded(self.at(Value("%scalars", "ptr"), 8 * number))

    def rounded(self, pointer: Value) -> Value:
        """The float64 at ``pointer``, rounded to the builder's dtype."""
        value = self.load("double", pointer, 8)
        return value if self.real == "double" else self.let("float", f"fptrunc double {value.text} to float")

    @property
    def scratch(self) -> Value:
        return Value("%scratch", "ptr")

    @property
    def begin(self) -> Value:
        return Value("%begin", "i64")

    @property
    def images(self) -> Value:
        """end − begin: the number of images of this chunk."""
        return self.sub(Value("%end", "i64"), self.begin)

    # --- memory -----------------------------------------------------------------------------------
    def load(self, type_: str, pointer: Value, align: int) -> Value:
        return self.let(type_, f"load {type_}, ptr {pointer.text}, align {align}")

    def store(self, value: Value, pointer: Value, align: int) -> None:
        self.emit(f"store {value}, ptr {pointer.text}, align {align}")

    def prefetch(self, pointer: Value, write: bool = False) -> None:
        """A line of memory into the second-level cache, or, to be written, into the first. It may lie anywhere."""
        hints = (self.int32(1), self.int32(3)) if write else (self.int32(0), self.int32(2))
        self.call("void", "llvm.prefetch.p0", pointer, *hints, self.int32(1))

    def first_lanes(self, count: int, lanes: int | None = None) -> Value:
        """A mask whose first ``count`` lanes are on."""
        lanes = lanes or self.lanes
        bits = ", ".join(f"i1 {1 if lane < count else 0}" for lane in range(lanes))
        return Value(f"<{bits}>", f"<{lanes} x i1>")

    def load_masked(
        self, pointer: Value, mask: Value, align: int | None = None, type_: str | None = None
    ) -> Value:
        """A vector; lanes that are off are 0 and their memory is not touched."""
        type_ = type_ or self.vector
        lanes, element = Value("", type_).lanes, Value("", type_).element
        suffix = f"v{lanes}{_SUFFIX[element]}"
        name = f"llvm.masked.load.{suffix}.p0"
        self._declared[name] = f"declare {type_} @{name}(ptr, i32, <{lanes} x i1>, {type_})"
        return self.let(
            type_,
            f"call {type_} @{name}(ptr {pointer.text}, i32 {align or self.item}, {mask}, {type_} zeroinitializer)",
        )

    def store_masked(self, value: Value, pointer: Value, mask: Value, align: int | None = None) -> None:
        """Stores the lanes that are on; the memory of the others is not touched."""
        name = f"llvm.masked.store.v{value.lanes}{_SUFFIX[value.element]}.p0"
        self._declared[name] = f"declare void @{name}({value.type}, ptr, i32, <{value.lanes} x i1>)"
        self.emit(f"call void @{name}({value}, ptr {pointer.text}, i32 {align or self.item}, {mask})")

    def load_lanes(self, pointer: Value, count: int) -> Value:
        """A vector of the builder's dtype from unaligned memory of which only ``count`` entries may be read."""
        if count >= self.lanes:
            return self.load(self.vector, pointer, self.item)
        return self.load_masked(pointer, self.first_lanes(count))

    def store_lanes(self, value: Value, pointer: Value, count: int) -> None:
        """The first ``count`` lanes to unaligned memory."""
        if count >= self.lanes:
            self.store(value, pointer, self.item)
        else:
            self.store_masked(value, pointer, self.first_lanes(count))

    # --- arithmetic -------------------------------------------------------------------------------
    def splat(self, scalar: Value, lanes: int | None = None) -> Value:
        """A vector with the scalar in each lane."""
        lanes = lanes or self.lanes
        type_ = f"<{lanes} x {scalar.type}>"
        first = self.let(type_, f"insertelement {type_} poison, {scalar}, i64 0")
        return self.let(type_, f"shufflevector {first}, {type_} poison, <{lanes} x i32> zeroinitializer")

    def joined(self, vectors: Sequence[Value]) -> Value:
        """A power of two of vectors as a single one; code generation cuts it, and each instruction on it, into these."""
        found = list(vectors)
        while len(found) > 1:
            pairs = zip(found[::2], found[1::2], strict=True)
            found = [self.chosen(x, y, range(2 * x.lanes)) for x, y in pairs]
        return found[0]

    def parts(self, vector: Value, count: int) -> list[Value]:
        """What ``joined`` made one, again."""
        lanes = vector.lanes // count
        cuts = [range(start, start + lanes) for start in range(0, vector.lanes, lanes)]
        return [self.chosen(vector, vector, cut) for cut in cuts] if count > 1 else [vector]

    def chosen(self, x: Value, y: Value, lanes: Sequence[int]) -> Value:
        """Of the lanes of x, counted on through those of y, so many."""
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        type_ = f"<{len(lanes)} x {x.element}>"
        return self.let(type_, f"shufflevector {x}, {y}, <{len(lanes)} x i32> <{mask}>")

    def load_splat(self, pointer: Value, lanes: int | None = None) -> Value:
        """One entry of the builder's dtype in every lane; code generation folds it into a broadcast."""
        return self.splat(self.load(self.real, pointer, self.item), lanes)

    def _real(self, op: str, a: Value, b: Value) -> Value:
        return self.let(a.type, f"{op} {a}, {b.text}")

    def fadd(self, a: Value, b: Value) -> Value:
        return self._real("fadd", a, b)

    def fsub(self, a: Value, b: Value) -> Value:
        return self._real("fsub", a, b)

    def fmul(self, a: Value, b: Value) -> Value:
        return self._real("fmul", a, b)

    def fdiv(self, a: Value, b: Value) -> Value:
        return self._real("fdiv", a, b)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a·b + c: rounded once where the machine has it, twice elsewhere."""
        if not self.machine.fma:
            return self.fadd(self.fmul(a, b), c)
        suffix = (
            _SUFFIX[a.element]
            if a.lanes == 1 and not a.type.startswith("<")
            else f"v{a.lanes}{_SUFFIX[a.element]}"
        )
        return self.call(a.type, f"llvm.fma.{suffix}", a, b, c)

    def fnma(self, a: Value, b: Value, c: Value) -> Value:
        """c − a·b, rounded as ``fma``: of a constant ``b`` no second one with its sign changed."""
        return self.fma(self.let(a.type, f"fneg {a}"), b, c)

    def fcmp(self, how: str, a: Value, b: Value) -> Value:
        type_ = f"<{a.lanes} x i1>" if a.type.startswith("<") else "i1"
        return self.let(type_, f"fcmp {how} {a}, {b.text}")

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        return self.let(a.type, f"select {condition}, {a}, {b}")

    def pinned(self, values: Sequence[Value]) -> list[Value]:
        """The same vectors, of which the optimiser knows nothing but that loads below come after them.

        Code generation then keeps the instructions in the order in which they were written. Left alone, it
        loads so far ahead to hide latencies that registers spill; the processor hides them anyway.
        """
        register = "v" if self.machine.isa == "avx512" else "x" if self.machine.is_x86 else "w"
        result = []
        for n, value in enumerate(values):
            clobber = ",~{memory}" if n == len(values) - 1 else ""
            code = f'asm sideeffect "", "={register},0{clobber}"({value})'
            result.append(self.let(value.type, f"call {value.type} {code}"))
        return result

    def opaque(self, pointer: Value) -> Value:
        """The same address, of which the optimiser does not know where it comes from.

        What lies at fixed distances from it is then reached by them. Where a loop's counter can be seen through the
        address, LLVM searches for induction variables that would serve each of dozens of accesses better, at twice
        the time of compilation.
        """
        return self.let(pointer.type, f'call {pointer.type} asm "", "=r,0"({pointer})')


_SUFFIX = {"float": "f32", "double": "f64", "i8": "i8", "i32": "i32", "i64": "i64", "i1": "i1"}
