"""The pool's native half, as LLVM IR: how a caller and its workers meet.

    i64 run(ptr pool, i64 wanted, ptr job)    the job, done by the caller and up to ``wanted`` workers
    void serve(ptr pool, i64 index)           a worker's life; returns when the pool stops
    i64 stop(ptr pool, i64 workers)           dismisses the workers; 0 if a job is running, try again
    void idle(i64 turns)                      that many pauses, to find out how long one takes

A worker's state word and who may change it:

    SPINNING -> INVITED     caller: there is a job
    PARKED   -> INVITED     caller, which then releases the worker's lock
    INVITED  -> RUNNING     worker: accepts
    INVITED  -> SPINNING    caller, at the job's end: too late, nothing is left to do
    RUNNING  -> SPINNING    worker: done
    SPINNING -> PARKED      worker, after a while without work; it then waits for its lock

A worker that the system has put to sleep keeps nobody waiting, unless it sleeps in the midst of a chunk: its
invitation is taken back. The lock of a worker is released once for each time it parked, and not otherwise. As
callers take turns (``busy``), only one at a time moves workers; whoever finds the pool busy works alone.
The lock is one of Python's, whose C functions need no interpreter lock, so a worker never needs it either.
"""

from __future__ import annotations

from vecgrad.runtime._records import (
    COUNTER_BYTES,
    DONE_OFFSET,
    INVITED,
    PARKED,
    RUNNING,
    SIDES_OFFSET,
    SPINNING,
    WORKER,
    WORKER_BYTES,
    load,
    store,
    words,
)
from vecgrad.runtime.walker import architecture, wait_ir
from vecgrad.spec.machine import Machine


def modules(machine: Machine) -> dict[str, str]:
    """{function: self-contained module that defines it}."""
    parts = architecture(machine)
    shared = _WORKER + _INVITE
    return {
        "run": _RUN + shared + wait_ir(machine) + parts["declare"],
        "serve": _SERVE.format(**parts) + _WORKER + parts["declare"],
        "stop": _STOP + shared,
        "idle": _IDLE.format(**parts) + parts["declare"],
    }


_WORKER = f"""
define internal ptr @worker(ptr %pool, i64 %index) nounwind {{
  %number = add i64 %index, 1
  %offset = mul i64 %number, {WORKER_BYTES}
  %worker = getelementptr i8, ptr %pool, i64 %offset
  ret ptr %worker
}}
"""

# If the first exchange fails the worker is parked, and stays so until the second.
_INVITE = f"""
define internal void @invite(ptr %pool, i64 %index, ptr %job, i64 %linger) nounwind {{
entry:
  %worker = call ptr @worker(ptr %pool, i64 %index)
{store("worker", "job", "ptr %job")}
{store("worker", "linger", "i64 %linger")}
  %first = cmpxchg ptr %worker, i64 {SPINNING}, i64 {INVITED} acq_rel acquire, align 8
  %awake = extractvalue {{ i64, i1 }} %first, 1
  br i1 %awake, label %exit, label %parked

parked:
  %second = cmpxchg ptr %worker, i64 {PARKED}, i64 {INVITED} acq_rel acquire, align 8
  %asleep = extractvalue {{ i64, i1 }} %second, 1
  br i1 %asleep, label %wake, label %exit

wake:
{load("pool", "release", "ptr")}
{load("worker", "lock", "ptr")}
  call void %release(ptr %lock)
  br label %exit

exit:
  ret void
}}
"""

_RUN = f"""
define i64 @run(ptr %pool, i64 %wanted, ptr %job) nounwind {{
entry:
{load("pool", "walk", "ptr")}
{load("job", "phases", "ptr")}
{load("job", "first_phase")}
{load("job", "end_phase")}
{load("job", "counters", "ptr")}
  br label %reset

  ; counters to zero; the widest phase says how many threads can be of use
reset:
  %p = phi i64 [ %first_phase, %entry ], [ %p.after, %reset.phase ]
  %widest = phi i64 [ 0, %entry ], [ %wider, %reset.phase ]
  %more.phases = icmp slt i64 %p, %end_phase
  br i1 %more.phases, label %reset.phase, label %reset.over

reset.phase:
  %phase = getelementptr {words("phase")}, ptr %phases, i64 %p
{load("phase", "chunks")}
  %counter.offset = mul i64 %p, {COUNTER_BYTES}
  %counter = getelementptr i8, ptr %counters, i64 %counter.offset
  %done = getelementptr i8, ptr %counter, i64 {DONE_OFFSET}
  store atomic i64 0, ptr %counter monotonic, align 8
  store atomic i64 0, ptr %done monotonic, align 8
  %first.side = getelementptr i8, ptr %counter, i64 {SIDES_OFFSET}
  %last.side = getelementptr i8, ptr %counter, i64 {SIDES_OFFSET + 8}
  store atomic i64 0, ptr %first.side monotonic, align 8
  store atomic i64 0, ptr %last.side monotonic, align 8
  %wider = call i64 @llvm.smax.i64(i64 %widest, i64 %chunks)
  %p.after = add i64 %p, 1
  br label %reset

reset.over:
  %useful = sub i64 %widest, 1
  %workers = call i64 @llvm.smin.i64(i64 %wanted, i64 %useful)
  %several = icmp sgt i64 %workers, 0
  br i1 %several, label %claim, label %alone

claim:
  %claimed = cmpxchg ptr %pool, i64 0, i64 1 acquire monotonic, align 8
  %free = extractvalue {{ i64, i1 }} %claimed, 1
  br i1 %free, label %gather, label %alone

alone:
  %ignored = call i64 %walk(ptr %job, i64 0)
  ret i64 0

  ; with more threads than processors, one that spins idly takes time from one that works
gather:
{load("pool", "room")}
{load("pool", "linger", into="usual")}
  %roomy = icmp sle i64 %workers, %room
  %linger = select i1 %roomy, i64 %usual, i64 0
  br label %next.invitation

next.invitation:
  %i = phi i64 [ 0, %gather ], [ %i.after, %next.invitation ]
  call void @invite(ptr %pool, i64 %i, ptr %job, i64 %linger)
  %i.after = add i64 %i, 1
  %more.invitations = icmp slt i64 %i.after, %workers
  br i1 %more.invitations, label %next.invitation, label %work

work:
  %ignored.too = call i64 %walk(ptr %job, i64 0)
  br label %next.recall

next.recall:
  %j = phi i64 [ 0, %work ], [ %j.after, %next.recall ]
  %worker = call ptr @worker(ptr %pool, i64 %j)
  %recalled = cmpxchg ptr %worker, i64 {INVITED}, i64 {SPINNING} acq_rel acquire, align 8
  call void @wait(ptr %job, ptr %worker, i64 {RUNNING + 1})
  %j.after = add i64 %j, 1
  %more.recalls = icmp slt i64 %j.after, %workers
  br i1 %more.recalls, label %next.recall, label %exit

exit:
  store atomic i64 0, ptr %pool release, align 8
  ret i64 %workers
}}

declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
"""

_SERVE = f"""
define void @serve(ptr %pool, i64 %index) nounwind {{{{
entry:
  %worker = call ptr @worker(ptr %pool, i64 %index)
  %thread = add i64 %index, 1
{load("pool", "walk", "ptr")}
{load("pool", "acquire", "ptr")}
{load("worker", "lock", "ptr")}
  %linger.at = getelementptr i64, ptr %worker, i64 {WORKER.index("linger")}
  br label %fresh

fresh:
  %linger = load atomic i64, ptr %linger.at monotonic, align 8
  br label %look

look:
  %turn = phi i64 [ 0, %fresh ], [ %turn.after, %rest ]
  %state = load atomic i64, ptr %worker monotonic, align 8
  %invited = icmp eq i64 %state, {INVITED}
  br i1 %invited, label %accept, label %idle

accept:
  %exchange = cmpxchg ptr %worker, i64 {INVITED}, i64 {RUNNING} acq_rel monotonic, align 8
  %accepted = extractvalue {{{{ i64, i1 }}}} %exchange, 1
  br i1 %accepted, label %work, label %idle

work:
{load("worker", "job", "ptr")}
  %dismissed = icmp eq ptr %job, null
  br i1 %dismissed, label %leave, label %walk.job

walk.job:
  %ignored = call i64 %walk(ptr %job, i64 %thread)
  store atomic i64 {SPINNING}, ptr %worker release, align 8
  br label %fresh

idle:
  %patient = icmp slt i64 %turn, %linger
  br i1 %patient, label %rest, label %park

rest:
  {{pause}}
  %turn.after = add i64 %turn, 1
  br label %look

park:
  %settled = cmpxchg ptr %worker, i64 {SPINNING}, i64 {PARKED} acq_rel monotonic, align 8
  %parked = extractvalue {{{{ i64, i1 }}}} %settled, 1
  br i1 %parked, label %sleep, label %fresh

sleep:
  %ignored.too = call i32 %acquire(ptr %lock, i32 1)
  br label %fresh

leave:
  store atomic i64 {SPINNING}, ptr %worker release, align 8
  ret void
}}}}
"""

# The pool stays busy for ever, so that nobody invites the dismissed.
_STOP = """
define i64 @stop(ptr %pool, i64 %workers) nounwind {
entry:
  %claimed = cmpxchg ptr %pool, i64 0, i64 1 acquire monotonic, align 8
  %free = extractvalue { i64, i1 } %claimed, 1
  br i1 %free, label %next, label %busy

next:
  %i = phi i64 [ 0, %entry ], [ %i.after, %dismiss ]
  %more = icmp slt i64 %i, %workers
  br i1 %more, label %dismiss, label %stopped

dismiss:
  call void @invite(ptr %pool, i64 %i, ptr null, i64 0)
  %i.after = add i64 %i, 1
  br label %next

stopped:
  ret i64 1

busy:
  ret i64 0
}
"""

_IDLE = """
define void @idle(i64 %turns) nounwind {{
entry:
  br label %next

next:
  %turn = phi i64 [ 0, %entry ], [ %turn.after, %next ]
  {pause}
  %turn.after = add i64 %turn, 1
  %more = icmp slt i64 %turn.after, %turns
  br i1 %more, label %next, label %exit

exit:
  ret void
}}
"""
