"""A step's images and labels looked at natively, as LLVM IR: every entry finite, every label a class.

    i64 admit(ptr images, i64 entries, ptr labels, i64 n, i64 classes, ptr rows)

returns 1 if all ``entries`` at ``images`` are finite and all ``n`` int64 labels are in 0 … classes − 1; the float rows (n, classes)
at ``rows`` are then zeros with a single 1 at each image's label. Otherwise 0, and rows are undefined; it does not say what is
wrong, as whoever asks has a slower way that does. Rows are written in whole blocks of 128 bytes; images are read and
written nowhere else than the arguments say.
"""

from __future__ import annotations

from vecgrad.spec.machine import ITEM_BYTES

BLOCK = 128

# By dtype: the integer of the same size, all bits but the sign, the exponent's lowest bit, and the number 1.
_BITS = {
    "float32": ("i32", (1 << 31) - 1, 1 << 23, 127 << 23),
    "float64": ("i64", (1 << 63) - 1, 1 << 52, 1023 << 52),
}


def name(dtype: str) -> str:
    """The function for images of ``dtype``."""
    return f"admit_{dtype}"


def ir(dtype: str) -> str:
    """``admit`` for ``dtype``, as the text of a self-contained module.

    An exponent of all ones means infinity or NaN; one more in its lowest place, and it overflows into the sign, which the
    entries gather by OR. That is three plain integer instructions a vector on any processor, raises no floating-point flag
    and knows no sum that could overflow.
    """
    word, magnitude, lowest, one = _BITS[dtype]
    item = ITEM_BYTES[dtype]
    lanes = BLOCK // item
    vector = f"<{lanes} x {word}>"

    def all_lanes(value: int) -> str:
        return f"<{', '.join([f'{word} {value}'] * lanes)}>"

    return f"""
define i64 @{name(dtype)}(ptr %images, i64 %entries, ptr %labels, i64 %n, i64 %classes, ptr %rows) nounwind {{
entry:
  %rest = urem i64 %entries, {lanes}
  %whole = sub i64 %entries, %rest
  br label %vectors

vectors:
  %v = phi i64 [ 0, %entry ], [ %v.after, %vector ]
  %gathered = phi {vector} [ zeroinitializer, %entry ], [ %gathered.after, %vector ]
  %more.vectors = icmp slt i64 %v, %whole
  br i1 %more.vectors, label %vector, label %vectors.over

vector:
  %here = getelementptr {word}, ptr %images, i64 %v
  %values = load {vector}, ptr %here, align {item}
  %magnitudes = and {vector} %values, {all_lanes(magnitude)}
  %overflown = add {vector} %magnitudes, {all_lanes(lowest)}
  %gathered.after = or {vector} %gathered, %overflown
  %v.after = add i64 %v, {lanes}
  br label %vectors

vectors.over:
  %folded = call {word} @llvm.vector.reduce.or.v{lanes}{word}({vector} %gathered)
  br label %entries.rest

entries.rest:
  %i = phi i64 [ %whole, %vectors.over ], [ %i.after, %entry.rest ]
  %signs = phi {word} [ %folded, %vectors.over ], [ %signs.after, %entry.rest ]
  %more.entries = icmp slt i64 %i, %entries
  br i1 %more.entries, label %entry.rest, label %looked

entry.rest:
  %there = getelementptr {word}, ptr %images, i64 %i
  %value = load {word}, ptr %there, align {item}
  %size = and {word} %value, {magnitude}
  %over = add {word} %size, {lowest}
  %signs.after = or {word} %signs, %over
  %i.after = add i64 %i, 1
  br label %entries.rest

looked:
  %finite = icmp sge {word} %signs, 0
  br i1 %finite, label %zeros, label %refused

zeros:
  %size.rows = mul i64 %n, %classes
  br label %zero

zero:
  %z = phi i64 [ 0, %zeros ], [ %z.after, %zero.vector ]
  %more.zeros = icmp slt i64 %z, %size.rows
  br i1 %more.zeros, label %zero.vector, label %ones

zero.vector:
  %zero.at = getelementptr {word}, ptr %rows, i64 %z
  store {vector} zeroinitializer, ptr %zero.at, align {item}
  %z.after = add i64 %z, {lanes}
  br label %zero

ones:
  %k = phi i64 [ 0, %zero ], [ %k.after, %one ]
  %more.labels = icmp slt i64 %k, %n
  br i1 %more.labels, label %label, label %admitted

label:
  %label.at = getelementptr i64, ptr %labels, i64 %k
  %class = load i64, ptr %label.at, align 8
  %known = icmp ult i64 %class, %classes
  br i1 %known, label %one, label %refused

one:
  %row = mul i64 %k, %classes
  %place = add i64 %row, %class
  %one.at = getelementptr {word}, ptr %rows, i64 %place
  store {word} {one}, ptr %one.at, align {item}
  %k.after = add i64 %k, 1
  br label %ones

admitted:
  ret i64 1

refused:
  ret i64 0
}}

declare {word} @llvm.vector.reduce.or.v{lanes}{word}({vector})
"""
