"""What workers say of the requests that they took."""

from dataclasses import dataclass

from nnpm_scheduler.dispatch.call import Raw


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer to `count` requests of a block from `offset` on: see `Reply` in worker.proto.

    `status` is a serialised google.rpc.Status, empty where they succeeded.
    """

    number: int
    nonce: int
    offset: int
    count: int
    head: bytes
    raw: Raw
    status: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of one request's answer, without the few that frame it."""
        return len(self.head) + sum([len(data) for data in self.raw]) // self.count

    def raw_of(self, first: int, count: int) -> Raw:
        """What `raw` says of `count` of the requests."""
        if count == self.count:
            return self.raw
        strides = [len(data) // self.count for data in self.raw]
        return [data[first * n : (first + count) * n] for data, n in zip(self.raw, strides, strict=True)]


Landed = tuple[int, int, int, int, bytes]
"""What became of a reply: number and offset and count as in it, how many calls it answered, its status if it is one."""
