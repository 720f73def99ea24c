"""The checker finds what is wrong in a history, and nothing in one that is right."""

import pytest

from chaos.checker import judge, troubled
from chaos.history import Begin, Call, End, History, Trouble


def history_of(*ends: End, **call: object) -> History:
    """One call that was sent at 100 s, with these ends."""
    given = {"target": "scheduler-0", "kind": "unary", "timeout": 30.0, "expected": "right", "lethal": False} | call
    history = History()
    history.sent(Call(1, sent=100.0, **given))
    for end in ends:
        history.ended(1, end)
    return history


def answered(tensors: str = "right", at: float = 101.0) -> End:
    return End(at, "OK", "", tensors)


def broken(history: History) -> list[int]:
    """The invariants that do not hold."""
    return sorted(violation.invariant for violation in judge(history))


def test_a_call_that_is_answered_once_with_its_own_tensors_is_right() -> None:
    assert not judge(history_of(answered()))


def test_a_lost_call_is_found() -> None:
    assert broken(history_of()) == [1]


def test_a_call_that_is_answered_twice_is_found() -> None:
    assert broken(history_of(answered(), answered())) == [1]


def test_an_answer_and_a_status_for_one_call_are_found() -> None:
    assert broken(history_of(answered(), End(102.0, "UNAVAILABLE", "QUEUE_UNAVAILABLE"))) == [1]


@pytest.mark.parametrize("tensors", ["wrong", "of call 2", ""])
def test_wrong_tensors_are_found(tensors: str) -> None:
    assert broken(history_of(answered(tensors))) == [2]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("INTERNAL", "INTERNAL_ERROR"),
        ("UNKNOWN", ""),
        ("UNAVAILABLE", "TOO_MUCH_IN_FLIGHT"),
        ("NOT_FOUND", "CLAIM_NOT_FOUND"),
    ],
)
def test_an_undocumented_status_is_found(code: str, reason: str) -> None:
    assert broken(history_of(End(101.0, code, reason))) == [0]


def test_a_cancellation_that_nobody_asked_for_is_found() -> None:
    end = End(101.0, "CANCELLED", "CALL_CANCELLED")
    assert broken(history_of(end)) == [0]
    assert not judge(history_of(end, kind="cancelled"))


def test_a_broken_call_is_excused_by_what_ailed_its_own_scheduler_alone() -> None:
    history = history_of(End(101.0, "UNAVAILABLE", "SERVER_UNREACHABLE"))
    assert broken(history) == [1]
    history.troubles.append(Trouble("kill-scheduler", "scheduler-1", 99.0, 103.0))
    assert broken(history) == [1]
    history.troubles.append(Trouble("kill-scheduler", "scheduler-0", 100.5, 100.6))
    assert not judge(history)


def test_a_patient_call_that_times_out_in_peace_is_found() -> None:
    history = history_of(End(130.0, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"))
    assert broken(history) == [9]
    history.troubles.append(Trouble("freeze-redis", "redis", 105.0, 125.0))
    assert not judge(history)


def test_a_deadline_that_passes_early_is_found() -> None:
    end = End(100.5, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
    assert broken(history_of(end)) == [1]
    assert not judge(history_of(end, timeout=0.5))


def test_a_run_that_begins_after_the_deadline_is_found() -> None:
    history = history_of(End(100.5, "DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED"), timeout=0.5)
    history.begins.append(Begin(1, 7, 103.0))
    assert broken(history) == [5]
    history.troubles.append(Trouble("freeze-worker", "worker-0", 100.0, 103.0))
    assert not judge(history)


def test_a_run_of_what_nobody_sent_is_found() -> None:
    history = history_of(answered())
    history.begins.append(Begin(2, 7, 100.5))
    assert broken(history) == [2]


def test_an_answer_of_a_model_that_never_was_ready_is_found() -> None:
    assert broken(history_of(answered(), expected="")) == [6]


def test_a_fencing_token_that_is_given_out_twice_is_found() -> None:
    history = history_of(answered())
    history.tokens = [1, 2, 2]
    assert broken(history) == [7]


def test_poison_is_what_killed_two_workers() -> None:
    history = history_of(End(101.0, "INTERNAL", "POISON_REQUEST"))
    history.begins = [Begin(1, 7, 100.1), Begin(1, 8, 100.6)]
    history.deaths = {7: 100.2}
    assert broken(history) == [8]
    history.deaths[8] = 100.7
    assert not judge(history)


def test_a_lethal_call_that_kills_three_workers_or_is_answered_is_found() -> None:
    history = history_of(End(101.0, "INTERNAL", "POISON_REQUEST"), lethal=True, expected="")
    history.begins = [Begin(1, pid, 100.1) for pid in (7, 8, 9)]
    history.deaths = {7: 100.2, 8: 100.3, 9: 100.4}
    assert broken(history) == [8]
    assert broken(history_of(answered(), lethal=True, expected="")) == [8]


@pytest.mark.parametrize(
    ("kind", "at", "excused"),
    [("flush-redis", 0.1, True), ("flush-redis", 0.4, False), ("lose-tail", 0.2, True), ("kill-redis", 0.1, False)],
)
def test_a_death_that_redis_forgot_before_it_was_noticed_is_not_counted(kind: str, at: float, excused: bool) -> None:
    history = history_of(End(109.0, "INTERNAL", "POISON_REQUEST"), lethal=True, expected="")
    history.begins = [Begin(1, 7, 100.1), Begin(1, 8, 102.0), Begin(1, 9, 105.0)]
    history.deaths = {7: 100.1, 8: 102.1, 9: 105.1}
    history.troubles = [Trouble(kind, "redis", 100.1 + at, 100.15 + at)]
    assert broken(history) == ([] if excused else [8])


def test_what_is_left_at_rest_is_found() -> None:
    history = history_of(answered())
    history.at_rest.append("one entry pending")
    assert broken(history) == [4]


def test_troubles_that_overlap_count_once_and_have_an_aftermath() -> None:
    troubles = [Trouble("a", "x", 0.0, 4.0), Trouble("b", "y", 2.0, 5.0), Trouble("c", "z", 20.0, 21.0)]
    assert troubled(troubles, 0.0, 30.0) == 12.0
    assert troubled(troubles, 9.0, 15.0) == 0.0
