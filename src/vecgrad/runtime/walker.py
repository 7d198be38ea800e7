"""The walker: native code that goes down a call table, as one of any number of threads.

    i64 walk(ptr job, i64 thread)      returns how many chunks this thread worked on

All threads of a job run ``walk``. For each phase a thread takes chunks from the phase's counter until
none is left, then waits until all are finished, by whomever. So a thread that comes late, or never,
delays nobody; and as kernels' results do not depend on who runs a chunk, neither do bits. Threads of even
numbers take chunks from the first on, the others from the last: what a thread wrote in one phase it then
mostly reads in the next, from its own cache.
"""

from __future__ import annotations

import sys

from vecgrad.runtime._records import (
    COUNTER_BYTES,
    DONE_OFFSET,
    FLAG_ALWAYS,
    MAX_OPERANDS,
    MODE_TASKS,
    SIDES_OFFSET,
    load,
    words,
)
from vecgrad.spec.machine import Machine

# All exceptions masked, round to nearest, flush to zero (bit 15), denormals are zero (bit 6): a fixed
# value, so that bits do not depend on the mode that the caller was in. The caller's comes back at the end,
# with the sticky flags it had.
_MXCSR = 0x1F80 | 0x8000 | 0x0040
_FPCR = 1 << 24  # FZ

# Name, IR of the pause instruction, of entering and of leaving the flushing mode, and declarations.
_X86 = {
    "pause": "call void @llvm.x86.sse2.pause()",
    "enter": f"""
  %mode = alloca i32, align 4
  %flush = alloca i32, align 4
  call void @llvm.x86.sse.stmxcsr(ptr %mode)
  store i32 {_MXCSR}, ptr %flush, align 4
  call void @llvm.x86.sse.ldmxcsr(ptr %flush)""",
    "leave": "call void @llvm.x86.sse.ldmxcsr(ptr %mode)",
    "declare": """
declare void @llvm.x86.sse2.pause()
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)""",
}
_ARM = {
    "pause": "call void @llvm.aarch64.hint(i32 1)",  # YIELD
    "enter": f"""
  %mode = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 {_FPCR})""",
    "leave": "call void @llvm.aarch64.set.fpcr(i64 %mode)",
    "declare": """
declare void @llvm.aarch64.hint(i32)
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)""",
}


def architecture(machine: Machine) -> dict[str, str]:
    """The pieces of IR that differ between processors: pause, enter, leave, declare."""
    return _X86 if machine.is_x86 else _ARM


def ir(machine: Machine) -> str:
    """``walk`` for ``machine``, as the text of a self-contained module."""
    parts = architecture(machine)
    return _WALK.format(**parts) + _CHUNK + wait_ir(machine) + parts["declare"]


def wait_ir(machine: Machine) -> str:
    """The internal function ``void wait(ptr job, ptr word, i64 goal)``: until the word is at least the goal.

    It pauses for the job's ``patience``, then calls its ``give_way`` between looks, so that more threads
    than processors do not crawl.
    """
    return _WAIT.format(**architecture(machine))


def clock_ir() -> str:
    """``i64 clock(ptr clock_gettime)``: nanoseconds of the C library's monotonic clock, as a module."""
    return _CLOCK


# The floating-point mode is set for the whole walk: kernels are calls through pointers, which LLVM
# moves nothing across.
_WALK = f"""
define i64 @walk(ptr %job, i64 %thread) nounwind {{{{
entry:{{enter}}
{load("job", "phases", "ptr")}
{load("job", "first_phase")}
{load("job", "end_phase")}
{load("job", "counters", "ptr")}
  %side = and i64 %thread, 1
  %from.end = trunc i64 %side to i1
  %side.bytes = mul i64 %side, 8
  %side.offset = add i64 %side.bytes, {SIDES_OFFSET}
  br label %next.phase

next.phase:
  %p = phi i64 [ %first_phase, %entry ], [ %p.after, %phase.over ]
  %worked = phi i64 [ 0, %entry ], [ %worked.here, %phase.over ]
  %more.phases = icmp slt i64 %p, %end_phase
  br i1 %more.phases, label %phase.begin, label %exit

phase.begin:
  %phase = getelementptr {words("phase")}, ptr %phases, i64 %p
{load("phase", "chunks")}
  %counter.offset = mul i64 %p, {COUNTER_BYTES}
  %counter = getelementptr i8, ptr %counters, i64 %counter.offset
  %done = getelementptr i8, ptr %counter, i64 {DONE_OFFSET}
  %side.at = getelementptr i8, ptr %counter, i64 %side.offset
  %chunks.less = sub i64 %chunks, 1
  br label %look

look:
  %worked.here = phi i64 [ %worked, %phase.begin ], [ %worked.more, %chunk.run ]
  %taken = load atomic i64, ptr %counter monotonic, align 8
  %left = icmp slt i64 %taken, %chunks
  br i1 %left, label %take, label %finish

take:
  %number = atomicrmw add ptr %counter, i64 1 monotonic, align 8
  %mine = icmp slt i64 %number, %chunks
  br i1 %mine, label %chunk.run, label %finish

  ; as many numbers are given out as there are chunks, so the two ends never cross
chunk.run:
  %place = atomicrmw add ptr %side.at, i64 1 monotonic, align 8
  %mirrored = sub i64 %chunks.less, %place
  %c = select i1 %from.end, i64 %mirrored, i64 %place
  call void @chunk(ptr %job, i64 %thread, ptr %phase, i64 %c)
  %finished = atomicrmw add ptr %done, i64 1 acq_rel, align 8
  %worked.more = add i64 %worked.here, 1
  br label %look

finish:
  call void @wait(ptr %job, ptr %done, i64 %chunks)
  br label %phase.over

phase.over:
  %p.after = add i64 %p, 1
  br label %next.phase

exit:
  {{leave}}
  ret i64 %worked
}}}}
"""

# One chunk of a phase: every call of the phase, one after the other.
_CHUNK = f"""
define internal void @chunk(ptr %job, i64 %thread, ptr %phase, i64 %c) nounwind {{
entry:
  %arguments = alloca [{MAX_OPERANDS} x ptr], align 16
{load("phase", "first_call")}
{load("phase", "calls")}
{load("phase", "mode")}
{load("phase", "images_per_chunk")}
{load("job", "calls", "ptr", into="table")}
{load("job", "operands", "ptr")}
{load("job", "bases", "ptr")}
{load("job", "bases_stride")}
{load("job", "scalars", "ptr")}
{load("job", "scratch", "ptr")}
{load("job", "scratch_stride")}
{load("job", "images")}
{load("job", "clock", "ptr")}
{load("job", "clock_source", "ptr")}
{load("job", "times", "ptr")}
{load("job", "times_stride")}
  %bases.offset = mul i64 %thread, %bases_stride
  %bases.mine = getelementptr i8, ptr %bases, i64 %bases.offset
  %scratch.offset = mul i64 %thread, %scratch_stride
  %scratch.mine = getelementptr i8, ptr %scratch, i64 %scratch.offset
  %times.offset = mul i64 %thread, %times_stride
  %times.mine = getelementptr i8, ptr %times, i64 %times.offset
  %timed = icmp ne ptr %clock, null

  ; the range: images [c * per chunk, (c + 1) * per chunk), at most n; or the task c
  %begin.all = mul i64 %c, %images_per_chunk
  %end.all = add i64 %begin.all, %images_per_chunk
  %begin.images = call i64 @llvm.smin.i64(i64 %begin.all, i64 %images)
  %end.images = call i64 @llvm.smin.i64(i64 %end.all, i64 %images)
  %c.after = add i64 %c, 1
  %tasks = icmp eq i64 %mode, {MODE_TASKS}
  %begin = select i1 %tasks, i64 %c, i64 %begin.images
  %end = select i1 %tasks, i64 %c.after, i64 %end.images
  %first.image = select i1 %tasks, i64 0, i64 %begin.images
  %empty = icmp sge i64 %begin, %end

  %call.end = add i64 %first_call, %calls
  br i1 %timed, label %start.clock, label %next.call

start.clock:
  %started = call i64 %clock(ptr %clock_source)
  br label %next.call

next.call:
  %k = phi i64 [ %first_call, %entry ], [ %first_call, %start.clock ], [ %k.after, %call.over ]
  %since = phi i64 [ 0, %entry ], [ %started, %start.clock ], [ %since.after, %call.over ]
  %more = icmp slt i64 %k, %call.end
  br i1 %more, label %call.look, label %exit

call.look:
  %call = getelementptr {words("call")}, ptr %table, i64 %k
{load("call", "function", "ptr")}
{load("call", "first_operand")}
{load("call", "operands", into="count")}
{load("call", "flags")}
  %always.bit = and i64 %flags, {FLAG_ALWAYS}
  %optional = icmp eq i64 %always.bit, 0
  %skip = and i1 %empty, %optional
  br i1 %skip, label %call.over, label %next.operand

next.operand:
  %o = phi i64 [ 0, %call.look ], [ %o.after, %resolve ]
  %more.operands = icmp slt i64 %o, %count
  br i1 %more.operands, label %resolve, label %invoke

resolve:
  %operand.index = add i64 %first_operand, %o
  %operand = getelementptr {words("operand")}, ptr %operands, i64 %operand.index
{load("operand", "base")}
{load("operand", "offset")}
{load("operand", "per_image")}
{load("operand", "per_chunk")}
  %root.at = getelementptr ptr, ptr %bases.mine, i64 %base
  %root = load ptr, ptr %root.at, align 8
  %for.image = mul i64 %first.image, %per_image
  %for.chunk = mul i64 %c, %per_chunk
  %partial = add i64 %offset, %for.image
  %distance = add i64 %partial, %for.chunk
  %resolved = getelementptr i8, ptr %root, i64 %distance
  %argument = getelementptr ptr, ptr %arguments, i64 %o
  store ptr %resolved, ptr %argument, align 8
  %o.after = add i64 %o, 1
  br label %next.operand

invoke:
  call void %function(ptr %arguments, ptr %scalars, ptr %scratch.mine, i64 %begin, i64 %end)
  br i1 %timed, label %stop.clock, label %call.over

stop.clock:
  %now = call i64 %clock(ptr %clock_source)
  %spent = sub i64 %now, %since
  %total.at = getelementptr i64, ptr %times.mine, i64 %k
  %total = load i64, ptr %total.at, align 8
  %total.after = add i64 %total, %spent
  store i64 %total.after, ptr %total.at, align 8
  br label %call.over

call.over:
  %since.after = phi i64 [ %since, %call.look ], [ %since, %invoke ], [ %now, %stop.clock ]
  %k.after = add i64 %k, 1
  br label %next.call

exit:
  ret void
}}

declare i64 @llvm.smin.i64(i64, i64)
"""

_WAIT = f"""
define internal void @wait(ptr %job, ptr %word, i64 %goal) nounwind {{{{
entry:
{load("job", "give_way", "ptr")}
{load("job", "patience")}
  br label %look

look:
  %turn = phi i64 [ 0, %entry ], [ %turn.after, %again ]
  %now = load atomic i64, ptr %word acquire, align 8
  %reached = icmp sge i64 %now, %goal
  br i1 %reached, label %exit, label %rest

rest:
  {{pause}}
  %patient = icmp slt i64 %turn, %patience
  %nobody = icmp eq ptr %give_way, null
  %stay = or i1 %patient, %nobody
  br i1 %stay, label %again, label %make.way

make.way:
  %ignored = call i32 %give_way()
  br label %again

again:
  %turn.after = add i64 %turn, 1
  br label %look

exit:
  ret void
}}}}
"""

# CLOCK_MONOTONIC is 1 on Linux and 6 on macOS.
_CLOCK = f"""
define i64 @clock(ptr %clock_gettime) nounwind {{
  %time = alloca [2 x i64], align 8
  %ignored = call i32 %clock_gettime(i32 {6 if sys.platform == "darwin" else 1}, ptr %time)
  %seconds = load i64, ptr %time, align 8
  %fraction.at = getelementptr i64, ptr %time, i64 1
  %fraction = load i64, ptr %fraction.at, align 8
  %whole = mul i64 %seconds, 1000000000
  %all = add i64 %whole, %fraction
  ret i64 %all
}}
"""
