"""Failed attempts to load: how long to wait, and when to give up."""

from nnpm_scheduler.control.failures import LONGEST_WAIT, PATIENCE, WORKER_LOST, LoadError, LoadFailures

AWAY = LoadError("SERVER_UNREACHABLE", "artifact does not answer", transient=True)


def test_each_wait_is_twice_as_long_up_to_a_limit() -> None:
    failures = LoadFailures()
    waits = []
    for _ in range(12):
        failures.record("r1", "a", AWAY, now=100.0)
        attempts = failures.get("r1")
        assert attempts is not None
        waits.append(attempts.retry_at - 100.0)
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_WAIT


def test_where_it_failed_is_remembered() -> None:
    failures = LoadFailures()
    failures.record("r1", "a", AWAY, now=0.0)
    failures.record("r1", "b", AWAY, now=0.0)
    assert failures.snapshot()["r1"].workers == {"a", "b"}


def test_success_forgets_the_failures() -> None:
    failures = LoadFailures()
    failures.record("r1", "a", AWAY, now=0.0)
    failures.forget("r1")
    assert failures.get("r1") is None


def test_only_what_cannot_succeed_or_kills_is_final() -> None:
    failures = LoadFailures()
    for number, error in enumerate(
        [AWAY, LoadError("CORRUPT", "", transient=False), LoadError(WORKER_LOST, "", transient=True)]
    ):
        for _ in range(PATIENCE):
            failures.record(f"r{number}", "a", error, now=0.0)
    assert [failures.snapshot()[f"r{number}"].final for number in range(3)] == [False, True, True]
    assert failures.snapshot()["r0"].hopeless
