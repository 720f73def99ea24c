"""What the inspecting process may not do, set before it reads a byte of the model."""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_FILES = 64
_CPU_GRACE_S = 2


def confine(parent: int, memory_bytes: int, cpu_seconds: int) -> None:
    """Bounds memory (address space), processor time, open files; forbids writing files and dumping core.

    Must run in the main thread. On Linux the process also dies with `parent`, whatever ends that one.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)
    _limit(resource.RLIMIT_AS, memory_bytes)
    # The soft limit's signal tells the parent what happened; the hard one kills whoever ignores it.
    _limit(resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + _CPU_GRACE_S)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, _FILES)


def _limit(kind: int, soft: int, hard: int | None = None) -> None:
    _, present = resource.getrlimit(kind)
    wanted = soft if hard is None else hard
    bound = wanted if present == resource.RLIM_INFINITY else min(wanted, present)
    resource.setrlimit(kind, (min(soft, bound), bound))
