"""The one way to open a channel: sizes, keepalive, retries, deadlines, traces and errors are set here."""

import json

import grpc
import grpc.aio

from nnpm.rpc.client_edge import EdgeChannel
from nnpm.rpc.limits import MAX_MESSAGE_BYTES, channel_options
from nnpm.rpc.tls import Tls

DEFAULT_TIMEOUT = 60.0
"""Deadline of a unary call that states none, seconds."""

# Every mutating call is idempotent or carries a request id, so what was UNAVAILABLE may be sent again.
_RETRIES = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def open_channel(
    address: str,
    *,
    tls: Tls | None = None,
    max_message_bytes: int = MAX_MESSAGE_BYTES,
    timeout: float = DEFAULT_TIMEOUT,
    retries: bool = True,
) -> grpc.aio.Channel:
    """A channel to `host:port` or `unix:/path`; it connects by itself and again after a break.

    Failed calls raise `nnpm.errors.NnpmError`. Unary calls without a deadline get `timeout` seconds; calls that stream
    get none, since they may be long: their caller sets it.
    """
    options = [
        *channel_options(max_message_bytes),
        ("grpc.enable_retries", int(retries)),
        # A service that restarts is to be found again at once, not after gRPC's default of up to two minutes.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 300),
        # Each channel its own connection: subchannels shared by address would share their back-off too.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if address.startswith("unix:"):
        # gRPC would send the path, which is no authority by RFC 3986: stricter HTTP/2 servers refuse it.
        options.append(("grpc.default_authority", "localhost"))
    if retries:
        options.append(("grpc.service_config", _RETRIES))
    credentials = tls.channel_credentials() if tls else None
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    return EdgeChannel(channel, address, timeout)
