"""HTTP/2 frames by hand, for what no client library would send."""

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM = ACK = 1
END_HEADERS = 4


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"") -> bytes:
    """One frame."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def headers(**changed: str) -> bytes:
    """A header block of literals, without Huffman coding: those of ModelInfer, some of them changed."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/inference.GRPCInferenceService/ModelInfer",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in (fields | changed).items())


def _text(value: str) -> bytes:
    return bytes([len(value)]) + value.encode()


def coded(text: str) -> bytes:
    """A header's text in HPACK's Huffman code (RFC 7541, appendix B), as far as these tests need it."""
    bits = "".join(f"{code:0{length}b}" for code, length in map(_CODES.__getitem__, text))
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


_CODES = {
    **{letter: (code, 5) for code, letter in enumerate("012aceiost")},
    **{letter: (code, 6) for code, letter in enumerate(" %-./3456789=A_bdfghlmnpru", 0x14)},
    **{letter: (code, 7) for code, letter in enumerate("jkqvwxyz", 0x74)},
    ":": (0x5C, 7),
}
