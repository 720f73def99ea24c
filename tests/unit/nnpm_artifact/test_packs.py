"""The pack format: what is written reads back, what is damaged is refused."""

import hashlib
from contextlib import closing, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnpm.errors import DataLoss, FailedPrecondition
from nnpm_artifact.local_store import LocalStore
from nnpm_artifact.packs import (
    Entry,
    PackBuilder,
    PackKind,
    new_name,
    open_entry,
    prefix_of,
    read_footer,
)
from nnpm_artifact.staged import stage_file


@pytest.fixture
def store(tmp_path: Path):
    store = LocalStore(tmp_path / "packs")
    yield store
    store.close()


def _fill(builder: PackBuilder, contents: list[bytes]) -> None:
    for data in contents:
        builder.add(hashlib.sha256(data).digest(), data)
    builder.finish()


def _put(store: LocalStore, contents: list[bytes], namespace: str = "acme") -> str:
    name = new_name(PackKind.CHUNKS)
    with closing(PackBuilder(store.stage(None), PackKind.CHUNKS, namespace, 1234)) as builder:
        _fill(builder, contents)
        store.put(name, builder.staged)
        assert store.size(name) == builder.size
    return name


@settings(max_examples=30, deadline=None)
@given(contents=st.lists(st.binary(min_size=1, max_size=300), max_size=40), namespace=st.sampled_from(["a", "acme/x"]))
def test_what_is_written_reads_back(tmp_path_factory, contents: list[bytes], namespace: str) -> None:
    store = LocalStore(tmp_path_factory.mktemp("packs"))
    name = _put(store, contents, namespace)
    footer = read_footer(store, name, store.size(name))
    assert (footer.kind, footer.namespace, footer.created_ms) == (PackKind.CHUNKS, namespace, 1234)
    read = [open_entry(entry, store.read(name, entry.offset, entry.stored), name) for entry in footer.entries]
    assert read == contents
    store.close()


def test_the_layout_of_version_1_is_frozen(tmp_path: Path) -> None:
    with closing(PackBuilder(stage_file(tmp_path), PackKind.RECIPE, "acme", 1)) as builder:
        _fill(builder, [b"abc"])
        written = b"".join(builder.staged)
    footer = (
        b"\x02" + (1).to_bytes(8, "little") + b"\x04\x00acme" + b"\x01\x00\x00\x00"
        + hashlib.sha256(b"abc").digest() + (16).to_bytes(8, "little") + b"\x03\x00\x00\x00" * 2 + b"\x00"
        + bytes(16) + bytes(12)
    )  # fmt: skip
    trailer = len(footer).to_bytes(4, "little") + hashlib.sha256(footer).digest() + b"\x01\x00\x00\x00" + b"NNPMFOOT"
    assert written == b"NNPMPACK\x01\x00\x00\x00\x00\x00\x00\x00" + b"abc" + footer + trailer


def test_a_footer_longer_than_one_read_is_read(store: LocalStore) -> None:
    contents = [index.to_bytes(4, "big") for index in range(6000)]
    name = _put(store, contents)
    assert len(read_footer(store, name, store.size(name)).entries) == 6000


def test_every_flipped_bit_of_the_tail_is_found(store: LocalStore, tmp_path: Path) -> None:
    name = _put(store, [b"hello", b"world"])
    path = tmp_path / "packs" / f"{name}.pack"
    whole = path.read_bytes()
    for at in range(16 + 10, len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises((DataLoss, FailedPrecondition)):
            read_footer(store, name, len(whole))


@pytest.mark.parametrize("length", [0, 1, 63, 64, 100])
def test_what_is_no_pack_is_refused(store: LocalStore, tmp_path: Path, length: int) -> None:
    path = tmp_path / "packs" / "chunks" / "x.pack"
    path.parent.mkdir()
    path.write_bytes(bytes(length))
    with pytest.raises(DataLoss) as caught:
        read_footer(store, "chunks/x", length)
    assert caught.value.reason == "PACK_CORRUPT"


def test_a_pack_of_a_later_format_is_refused_as_too_new(store: LocalStore, tmp_path: Path) -> None:
    name = _put(store, [b"hello"])
    path = tmp_path / "packs" / f"{name}.pack"
    whole = bytearray(path.read_bytes())
    whole[-12] = 2
    path.write_bytes(whole)
    with pytest.raises(FailedPrecondition) as caught:
        read_footer(store, name, len(whole))
    assert caught.value.reason == "PACK_TOO_NEW"


def test_an_entry_with_an_unknown_codec_or_key_is_refused(store: LocalStore) -> None:
    digest = hashlib.sha256(b"x").digest()
    for entry in (Entry(digest, 16, 1, 1, codec=1), Entry(digest, 16, 1, 1, key_id=b"k" * 16)):
        with pytest.raises(FailedPrecondition) as caught:
            open_entry(entry, b"x", "chunks/x")
        assert caught.value.reason == "PACK_TOO_NEW"


def test_a_damaged_entry_is_refused() -> None:
    with pytest.raises(DataLoss) as caught:
        open_entry(Entry(hashlib.sha256(b"x").digest(), 16, 1, 1), b"y", "chunks/x")
    assert caught.value.reason == "CHUNK_CORRUPT"


def test_names_are_never_used_twice_and_tell_their_kind() -> None:
    names = {new_name(PackKind.REFERENCES) for _ in range(1000)}
    assert len(names) == 1000
    assert all(name.startswith(prefix_of(PackKind.REFERENCES)) for name in names)


def test_the_staging_file_is_gone_whatever_happens(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), closing(PackBuilder(stage_file(tmp_path), PackKind.CHUNKS, "acme", 1)) as builder:
        builder.add(hashlib.sha256(b"x").digest(), b"x")
        assert len(list(tmp_path.iterdir())) == 1
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_full_pack_says_so(tmp_path: Path) -> None:
    with closing(PackBuilder(stage_file(tmp_path), PackKind.CHUNKS, "acme", 1)) as builder:
        block = bytes(1 << 20)
        for _ in range(32):
            assert not builder.full
            builder.add(bytes(32), block)
        assert builder.full
