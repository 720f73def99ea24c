"""Free TCP ports on loopback, below the range from which the kernel takes its own."""

import random
import socket

_FIRST, _LAST = 12_000, 32_000


def free_port(count: int = 1) -> int:
    """The first of `count` consecutive ports that nobody listened on a moment ago."""
    source = random.SystemRandom()
    for _ in range(1000):
        first = source.randrange(_FIRST, _LAST - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise OSError(f"no {count} free ports in a row between {_FIRST} and {_LAST}")


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
