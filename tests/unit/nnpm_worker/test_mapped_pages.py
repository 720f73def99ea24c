"""Mapped weights do not stay in memory beside their packed copies while a model loads."""

import mmap
from pathlib import Path

import psutil
import pytest

from nnpm_worker.mapped_pages import released_while_loading
from support.waiting import wait_until

SIZE = 64 << 20


def test_mapped_pages_leave_memory_and_come_back_the_same(tmp_path: Path) -> None:
    content = bytes(range(256)) * (SIZE // 256)
    (tmp_path / "weights.bin").write_bytes(content)
    process = psutil.Process()
    with (tmp_path / "weights.bin").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == content
        before = process.memory_info().rss
        with released_while_loading(tmp_path):
            try:
                wait_until(lambda: process.memory_info().rss < before - SIZE // 2, 5)
            except AssertionError:
                if not _pages_can_be_pushed_out():
                    pytest.skip("this kernel does not push mapped pages out")
                raise
        assert mapped[:] == content


def _pages_can_be_pushed_out() -> bool:
    release = tuple(int(part) for part in Path("/proc/sys/kernel/osrelease").read_text().split(".")[:2])
    return release >= (5, 4)
