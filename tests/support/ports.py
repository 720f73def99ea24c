"""Free TCP ports on loopback, below the range from which the kernel takes its own."""

import random
import socket

_FIRST, _LAST = 12_000, 32_000


def free_port() -> int:
    """A port that nobody listened on a moment ago."""
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of `count` consecutive ports that nobody listened on a moment ago."""
    source = random.SystemRandom()
    for _ in range(200):
        first = source.randrange(_FIRST, _LAST - count)
        if all(_is_free(port) for port in range(first, first + count)):
            return first
    raise AssertionError(f"no {count} consecutive free ports between {_FIRST} and {_LAST}")


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
