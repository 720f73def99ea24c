"""What the process of a class may not do, set before it imports a line of it."""

import ctypes
import os
import resource
import signal

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_FILES = 1_024


def confine(parent: int, memory_bytes: int) -> None:
    """Bounds memory (address space), the size and number of files; no core is dumped, no privilege gained.

    Must run in the main thread. The process also dies with the thread that started it, whatever ends that one.
    """
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_FSIZE, memory_bytes)
    _limit(resource.RLIMIT_NOFILE, _FILES)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(kind: int, wanted: int) -> None:
    _, present = resource.getrlimit(kind)
    bound = wanted if present == resource.RLIM_INFINITY else min(wanted, present)
    resource.setrlimit(kind, (bound, bound))
