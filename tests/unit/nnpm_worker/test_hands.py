from nnpm.queue.entry import Block, Entry
from nnpm_worker.hands import Hands, Held, HeldState
from nnpm_worker.requests import Job


def held(entry_id: bytes, *numbers: int, revision: str = "r", scheduler: str = "s", count: int = 1) -> Held:
    blocks = tuple(Block(number, 0, count, 0, 0, body=b"body") for number in numbers)
    jobs = [Job(block, 0, 0, 0) for block in blocks]
    return Held(revision, entry_id, Entry(scheduler, "unix:/x", blocks), jobs, HeldState.WAITING)


def test_an_entry_stays_in_hand_until_its_acknowledgement_is_answered() -> None:
    hands = Hands()
    entry = held(b"1-0", 1, 2)
    hands.add(entry)
    assert (len(hands), hands.requests) == (1, 2)
    hands.done(entry)
    assert (len(hands), hands.requests) == (1, 0)
    assert hands.to_acknowledge("r") == [b"1-0"]
    assert hands.to_acknowledge("r") == []
    hands.acknowledge_again("r")
    assert hands.to_acknowledge("r") == [b"1-0"], "an unanswered acknowledgement is sent again"
    hands.acknowledged("r", [b"1-0"])
    assert len(hands) == 0
    assert not hands.of("r")


def test_a_body_is_let_go_as_soon_as_it_is_answered() -> None:
    hands = Hands()
    entry = held(b"1-0", 1)
    hands.add(entry)
    hands.done(entry)
    assert entry.jobs[0].body is None


def test_the_same_id_in_two_streams_is_two_entries() -> None:
    hands = Hands()
    one, two = held(b"1-0", 1, revision="a"), held(b"1-0", 2, revision="b")
    hands.add(one)
    hands.add(two)
    hands.done(one)
    hands.acknowledged("a", hands.to_acknowledge("a"))
    assert not hands.of("a")
    assert hands.of("b")


def test_a_cancellation_finds_its_request_before_and_after_it_comes() -> None:
    hands = Hands()
    hands.cancel("s", [2])
    entry = held(b"1-0", 1, 2, 3)
    hands.add(entry)
    hands.cancel("s", [3])
    hands.cancel("another", [1])
    assert [job.cancelled for job in entry.jobs] == [set(), {0}, {0}]


def test_early_cancellations_are_bounded() -> None:
    hands = Hands()
    hands.cancel("s", range(20_000))
    entry = held(b"1-0", 0, 19_999)
    hands.add(entry)
    assert [job.cancelled for job in entry.jobs] == [set(), {0}]


def test_ids_with_nothing_behind_them_are_only_acknowledged() -> None:
    hands = Hands()
    hands.add_empty("r", b"1-0")
    hands.add_empty("r", b"2-0")
    assert hands.of("r")
    assert hands.to_acknowledge("r") == [b"1-0", b"2-0"]
    hands.acknowledged("r", [b"1-0"])
    hands.acknowledge_again("r")
    assert hands.to_acknowledge("r") == [b"2-0"]


def test_what_was_taken_back_is_forgotten_without_a_word() -> None:
    hands = Hands()
    entry = held(b"1-0", 1)
    hands.add(entry)
    hands.forget(entry)
    assert len(hands) == 0
    assert hands.to_acknowledge("r") == []


def test_a_cancellation_finds_its_request_within_a_block() -> None:
    hands = Hands()
    hands.cancel("s", [11])
    entry = held(b"1-0", 10, 20, count=10)
    hands.add(entry)
    hands.cancel("s", [19, 20, 29, 30])
    assert [job.cancelled for job in entry.jobs] == [{1, 9}, {0, 9}]
    assert hands.requests == 20
