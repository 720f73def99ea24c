"""A history survives being written down."""

from pathlib import Path

from chaos.history import Begin, Call, End, History, Trouble


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    history = History()
    history.sent(Call(1, "scheduler-0", "unary", 1.0, 30.0, "digest"))
    history.sent(Call(2, "scheduler-0", "stream", 1.0, 30.0, "", lethal=True))
    history.ended(1, End(2.0, "OK", "", "digest"))
    history.begins.append(Begin(1, 7, 1.5))
    history.troubles.append(Trouble("kill-worker", "worker-0", 1.0, 1.1))
    history.deaths, history.tokens, history.at_rest = {7: 1.7}, [1, 2], ["something"]
    history.write(tmp_path / "history.jsonl")
    history.ends[2] = []
    assert History.read(tmp_path / "history.jsonl") == history
