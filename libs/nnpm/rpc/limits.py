"""Keepalive and message sizes, the same on both sides of every connection."""

from collections.abc import Sequence

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
"""Default limit of one message, both ways."""

MAX_CONCURRENT_STREAMS = 1_024
"""Calls that one connection may have open; a client queues what is beyond.

gRPC core keeps 13 KB of each stream, of reset ones too, until the loop has come to it, so this is what bounds it under
attack: forty connections that open or reset a thousand streams each, twice, cost 1.2 GB and let a good call wait for
seconds, where 128 would cost 0.16 GB and 0.3 s (grpcio 1.81; `scripts/hostile`). But what a client sends before it has
read the limit is refused above it, and neither grpc's client nor h2load sends that again: at 512, a thousand calls on a
new connection fail. Who must bear hostile clients takes the native transport.
"""

Options = Sequence[tuple[str, int | str]]


def channel_options(max_message_bytes: int) -> Options:
    """Options of a client's channel."""
    return (*_sizes(max_message_bytes), ("grpc.keepalive_time_ms", 10_000), ("grpc.keepalive_timeout_ms", 5_000))


def server_options(max_message_bytes: int) -> Options:
    """Options of a server. The least ping interval allows our own clients' keepalive."""
    return (
        *_sizes(max_message_bytes),
        ("grpc.max_concurrent_streams", MAX_CONCURRENT_STREAMS),
        ("grpc.so_reuseport", 0),  # else a second process on a port would start, and take half of the calls
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
    )


def _sizes(max_message_bytes: int) -> Options:
    return (
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", max_message_bytes),
        # Rich statuses travel in metadata; the default of 8 KiB cuts long lists of violations.
        ("grpc.max_metadata_size", 64 * 1024),
    )
