"""Judges a history by the nine invariants of the dispatch protocol (`nnpm_scheduler/dispatch/README.md`).

Seen from outside, where a call's client, the runtime's journal, the processes and Redis are all that there is:

1. every call ends once; 2. an answer is the call's own; 4. at rest nothing is left; 5. nothing begins after its
deadline; 6. what was never ready answers nothing; 7. no fencing token is given out twice; 8. only what killed two
workers is poison; 3. and 9. (nothing is acknowledged unanswered, nothing stays in dead hands) show in calls that time
out although there was time enough to answer them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from chaos.history import Begin, Call, End, History, Trouble
from chaos.statuses import is_documented

PATIENT = 15.0
"""Seconds without any trouble that suffice to answer any call, several times over."""
CLOCK_ERROR = 1.0
"""Seconds: how late a run may begin. A heartbeat's delay, and the scheduling of a busy machine."""
EARLY = 0.1
"""Seconds: how early a deadline may be called passed."""
AFTERMATH = 3.0
"""Seconds after a trouble's end in which connections are still being made anew."""
NOTICED = 0.25
"""Seconds until a worker's death is noticed by those that are well: until then only Redis knows what it had in hand."""
READ_AHEAD = 0.5
"""Seconds that what was read may wait before it is begun."""
LOSSES = frozenset({"flush-redis", "lose-tail"})
"""Troubles in which Redis forgets what was in whose hands."""
OF_SCHEDULERS = frozenset({"kill-scheduler", "down", "freeze-scheduler"})
"""Troubles in which calls that a scheduler holds may break."""


@dataclass(frozen=True, slots=True)
class Violation:
    """An invariant that does not hold, with the call or thing that shows it. 0: a status that is not documented."""

    invariant: int
    text: str


def judge(history: History) -> list[Violation]:
    """Everything that is wrong; empty if all invariants hold."""
    found = list(_by_call(history))
    found += _late_begins(history)
    found += _poison(history)
    given = Counter(history.tokens)
    found += [
        Violation(7, f"fencing token {token} was given out {times} times")
        for token, times in given.items()
        if times > 1
    ]
    found += [Violation(4, text) for text in history.at_rest]
    return found


def _by_call(history: History) -> Iterator[Violation]:
    for call in history.calls.values():
        ends = history.ends.get(call.number, [])
        if not ends:
            yield Violation(1, f"call {call.number} ({call.kind}) was lost: it never ended")
            continue
        if len(ends) > 1:
            codes = ", ".join(end.code for end in ends)
            yield Violation(1, f"call {call.number} ({call.kind}) ended {len(ends)} times: {codes}")
        for end in ends:
            yield from _end(history, call, end)


def _end(history: History, call: Call, end: End) -> Iterator[Violation]:
    told = f"{end.code} {end.reason}".strip()
    if end.code == "OK":
        if not call.expected:
            kind, invariant = ("lethal", 8) if call.lethal else ("never ready", 6)
            yield Violation(invariant, f"call {call.number} ({kind}) was answered")
        elif end.tensors != call.expected:
            yield Violation(2, f"call {call.number} ({call.kind}) was answered with other tensors than its own")
    elif not is_documented(end.code, end.reason):
        yield Violation(0, f"call {call.number} ({call.kind}) ended with {told}, which is not documented")
    elif end.code == "CANCELLED" and call.kind != "cancelled":
        yield Violation(0, f"call {call.number} ({call.kind}) ended with {told}, but nobody cancelled it")
    elif end.reason == "SERVER_UNREACHABLE" and not _of(history.troubles, call, end):
        yield Violation(1, f"call {call.number} was broken off ({told}) although nothing ailed {call.target}")
    elif end.code == "DEADLINE_EXCEEDED":
        yield from _timed_out(history, call, end)


def _timed_out(history: History, call: Call, end: End) -> Iterator[Violation]:
    waited = end.at - call.sent
    if waited < call.timeout - EARLY:
        yield Violation(1, f"call {call.number} timed out after {waited:.2f} of its {call.timeout:.2f} s")
    at_peace = waited - troubled(history.troubles, call.sent, end.at)
    if at_peace > PATIENT and call.expected:
        yield Violation(
            9, f"call {call.number} ({call.kind}) timed out although nothing was wrong for {at_peace:.1f} s of its life"
        )


def _late_begins(history: History) -> Iterator[Violation]:
    for begin in history.begins:
        call = history.calls.get(begin.number)
        if call is None:
            yield Violation(2, f"process {begin.pid} ran call {begin.number}, which nobody sent")
            continue
        late = begin.at - call.sent - call.timeout
        # A frozen process, or a connection that stands still, holds up the clock that heartbeats carry.
        allowed = CLOCK_ERROR + troubled(history.troubles, call.sent, begin.at)
        if late > allowed:
            yield Violation(
                5, f"call {call.number} was begun {late:.2f} s after its deadline; {allowed:.2f} s is the most"
            )


def _poison(history: History) -> Iterator[Violation]:
    """Who is told POISON_REQUEST has killed two workers; what is lethal kills no third, but for forgotten deaths."""
    began: defaultdict[int, set[int]] = defaultdict(set)
    forgotten: Counter[int] = Counter()
    for begin in history.begins:
        began[begin.number].add(begin.pid)
        call = history.calls.get(begin.number)
        forgotten[begin.number] += call is not None and call.lethal and _is_forgotten(history.troubles, call, begin)
    for call in history.calls.values():
        dead = began[call.number] & history.deaths.keys()
        poisoned = any(end.reason == "POISON_REQUEST" for end in history.ends.get(call.number, ()))
        if poisoned and len(dead) < 2:
            yield Violation(
                8, f"call {call.number} is called poison, and {len(dead)} of those that ran it died: {sorted(dead)}"
            )
        if call.lethal and len(dead) > 2 + forgotten[call.number]:
            yield Violation(8, f"call {call.number} killed {len(dead)} workers")


def _is_forgotten(troubles: Sequence[Trouble], call: Call, begin: Begin) -> bool:
    """Whether Redis lost what a worker had in hand before anybody can have noticed that it died of it."""
    ailing = [each for each in troubles if each.target in {call.target, "redis"} and each.kind not in LOSSES]
    return any(
        loss.begin - begin.at - troubled(ailing, begin.at, loss.begin) <= NOTICED and loss.end >= begin.at - READ_AHEAD
        for loss in troubles
        if loss.kind in LOSSES
    )


def troubled(troubles: Iterable[Trouble], begin: float, end: float) -> float:
    """For how many seconds between two times anything was wrong."""
    spans = sorted((max(begin, each.begin), min(end, each.end + AFTERMATH)) for each in troubles)
    total, reached = 0.0, begin
    for first, last in spans:
        total += max(0.0, last - max(first, reached))
        reached = max(reached, last)
    return total


def _of(troubles: Sequence[Trouble], call: Call, end: End) -> bool:
    """Whether something ailed the call's scheduler while it was held, or just before."""
    return any(
        each.target == call.target
        and each.kind in OF_SCHEDULERS
        and each.begin <= end.at
        and each.end + AFTERMATH >= call.sent
        for each in troubles
    )
