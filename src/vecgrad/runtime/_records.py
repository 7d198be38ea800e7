"""The records that Python writes and native code reads: arrays of 64-bit words, fields by name.

The walker's text and the tables in memory are both made from this one list.
"""

from __future__ import annotations

PHASE = ("first_call", "calls", "mode", "chunks", "images_per_chunk")
CALL = ("function", "first_operand", "operands", "flags")
OPERAND = ("base", "offset", "per_image", "per_chunk")
JOB = (
    "phases",
    "first_phase",
    "end_phase",
    "calls",
    "operands",
    "bases",
    "bases_stride",
    "scalars",
    "scratch",
    "scratch_stride",
    "counters",
    "images",
    "clock",
    "clock_source",
    "times",
    "times_stride",
    "give_way",
    "patience",
)
POOL = ("busy", "walk", "linger", "room", "acquire", "release")
WORKER = ("state", "job", "linger", "lock")
RECORDS = {"phase": PHASE, "call": CALL, "operand": OPERAND, "job": JOB, "pool": POOL, "worker": WORKER}

MODE_IMAGES = 0
MODE_TASKS = 1
FLAG_ALWAYS = 1  # call it for an empty chunk too

MAX_OPERANDS = 40  # of one call: the walker resolves them on its stack

# A phase's counters: chunks given out, of these from the first on and from the last; and, on a line of its own, chunks
# done. 64 bytes each, as a pair that the prefetcher may fetch together.
COUNTER_BYTES = 128
SIDES_OFFSET = 8
DONE_OFFSET = 64

# A worker's states; who may change which is told in _pool_ir. RUNNING is the least, so that waiting for its
# end and for a counter are the same comparison.
RUNNING, SPINNING, INVITED, PARKED = range(4)
WORKER_BYTES = 128  # the pool's record and each worker's: own lines, as above
MAX_WORKERS = 255


def load(record: str, field: str, kind: str = "i64", into: str | None = None) -> str:
    """IR that loads ``field`` of the record at %<record> into %<into> (%<field>); ``kind``: its LLVM type.

    >>> print(load("call", "function", "ptr"))
      %function.at = getelementptr i64, ptr %call, i64 0
      %function = load ptr, ptr %function.at, align 8
    """
    name = into or field
    return (
        f"  %{name}.at = getelementptr i64, ptr %{record}, i64 {RECORDS[record].index(field)}\n"
        f"  %{name} = load {kind}, ptr %{name}.at, align 8"
    )


def store(record: str, field: str, value: str) -> str:
    """IR that stores the 64-bit ``value`` ("i64 %x", "ptr %y") in ``field`` of the record at %<record>."""
    return (
        f"  %{record}.{field} = getelementptr i64, ptr %{record}, i64 {RECORDS[record].index(field)}\n"
        f"  store atomic {value}, ptr %{record}.{field} monotonic, align 8"
    )


def words(record: str) -> str:
    """The LLVM type of a record: indexing by it steps from one record to the next."""
    return f"[{len(RECORDS[record])} x i64]"
