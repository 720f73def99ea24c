"""Processor time is read from the right fields, whatever a program is called."""

import os
import time

from benchmarks import proc_stat

LINE = "4711 (a b) (x) 9 S 42 4711 4711 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 3 0 100 1 2"


def test_a_name_with_blanks_and_brackets_shifts_no_field() -> None:
    line = LINE.replace("9 S", "S")
    assert proc_stat.parent(line) == 42
    assert proc_stat.cpu_seconds(line) == 200 * proc_stat.TICK


def test_work_of_this_process_shows() -> None:
    groups = {"me": [os.getpid()], "gone": [2**22 + 1]}
    before = proc_stat.of_groups(groups)
    until = time.process_time() + 0.1
    while time.process_time() < until:
        pass
    after = proc_stat.of_groups(groups)
    assert after["me"] - before["me"] >= 0.05
    assert after["gone"] == 0


def test_a_tree_holds_this_process_below_its_parent() -> None:
    assert os.getpid() in proc_stat.tree(os.getppid())
