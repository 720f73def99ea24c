"""The promise of a pack store, kept by the local directory and by real S3 servers alike."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from nnpm.errors import AlreadyExists, DataLoss, NotFound, Unavailable
from nnpm_artifact.pack_store import PackStore, StoredPack
from nnpm_artifact.packs import MOST_BYTES, PackBuilder, PackKind, new_name, read_footer
from nnpm_artifact.staged import Staged
from support.artifact import content


def _stage(store: PackStore, data: bytes) -> Staged:
    staged = store.stage(None)
    staged.write([data])
    return staged


def _put(store: PackStore, name: str, data: bytes) -> bool:
    with closing(_stage(store, data)) as staged:
        return store.put(name, staged)


def test_what_is_put_can_be_read_in_any_range(pack_store: PackStore) -> None:
    pack_store.check()
    data = content(3_000_000)
    _put(pack_store, "chunks/aa/one", data)
    assert pack_store.size("chunks/aa/one") == len(data)
    for offset, length in ((0, len(data)), (0, 1), (len(data) - 1, 1), (1_234_567, 654_321)):
        assert pack_store.read("chunks/aa/one", offset, length) == data[offset : offset + length]


def test_a_put_is_confirmed(pack_store: PackStore) -> None:
    assert _put(pack_store, "chunks/aa/one", content(100_000))


def test_bytes_that_were_changed_on_their_way_are_never_confirmed(pack_store: PackStore) -> None:
    staged = _stage(pack_store, content(100_000, seed=1))
    staged.crc32 ^= 1
    with pytest.raises(Unavailable) as caught:
        pack_store.put("chunks/aa/one", staged)
    assert caught.value.reason == "STORE_UNAVAILABLE"
    with pytest.raises(NotFound):
        pack_store.size("chunks/aa/one")


@pytest.mark.parametrize("limit", [None, 1000, 1 << 40], ids=["unknown", "in-memory", "too-large"])
def test_a_put_leaves_what_is_staged_to_its_owner(pack_store: PackStore, limit: int | None) -> None:
    with closing(pack_store.stage(limit)) as staged:
        staged.write([b"da", b"", b"ta"])
        assert pack_store.put("chunks/aa/one", staged)
        assert b"".join(staged) == b"data"
        assert staged.read_at(1, 2) == b"at"
    assert list(pack_store.staging.iterdir()) == []
    assert pack_store.read("chunks/aa/one", 0, 4) == b"data"


def test_a_taken_name_is_refused_and_keeps_its_bytes(pack_store: PackStore) -> None:
    _put(pack_store, "chunks/aa/one", b"first")
    with pytest.raises(AlreadyExists) as caught:
        _put(pack_store, "chunks/aa/one", b"second")
    assert caught.value.reason == "PACK_EXISTS"
    assert pack_store.read("chunks/aa/one", 0, 5) == b"first"


def test_of_many_who_race_for_a_name_one_wins(pack_store: PackStore) -> None:
    contenders = [_stage(pack_store, content(100_000, seed)) for seed in range(8)]

    def put(staged: Staged) -> bool:
        try:
            pack_store.put("chunks/aa/one", staged)
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(put, contenders))
    assert won.count(True) == 1
    assert pack_store.read("chunks/aa/one", 0, 100_000) == content(100_000, won.index(True))


def test_what_is_not_there_is_not_found(pack_store: PackStore) -> None:
    for act in (lambda: pack_store.read("chunks/aa/none", 0, 1), lambda: pack_store.size("chunks/aa/none")):
        with pytest.raises(NotFound) as caught:
            act()
        assert caught.value.reason == "PACK_NOT_FOUND"


def test_a_read_past_the_end_is_data_loss_never_short(pack_store: PackStore) -> None:
    _put(pack_store, "chunks/aa/one", b"12345")
    for offset, length in ((0, 6), (4, 2), (5, 1), (100, 1)):
        with pytest.raises(DataLoss) as caught:
            pack_store.read("chunks/aa/one", offset, length)
        assert caught.value.reason == "PACK_CORRUPT"


def test_a_deleted_pack_is_gone_and_may_be_deleted_again(pack_store: PackStore) -> None:
    _put(pack_store, "chunks/aa/one", b"12345")
    pack_store.delete("chunks/aa/one")
    pack_store.delete("chunks/aa/one")
    with pytest.raises(NotFound):
        pack_store.size("chunks/aa/one")


def test_listing_tells_names_and_sizes_by_prefix(pack_store: PackStore) -> None:
    assert list(pack_store.list("chunks/")) == []
    for index in range(25):
        name = f"chunks/{index % 3:02x}/{index}"
        _put(pack_store, name, bytes(index + 1))
    _put(pack_store, "recipe/aa/one", b"r")
    listed = set(pack_store.list("chunks/"))
    assert listed == {StoredPack(f"chunks/{index % 3:02x}/{index}", index + 1) for index in range(25)}
    assert [pack.name for pack in pack_store.list("recipe/")] == ["recipe/aa/one"]


def test_the_footer_of_a_large_pack_reads_back(pack_store: PackStore) -> None:
    name = new_name(PackKind.CHUNKS)
    block = os.urandom(1 << 20)
    digest = hashlib.sha256(block).digest()
    with closing(PackBuilder(pack_store.stage(MOST_BYTES), PackKind.CHUNKS, "acme", 5)) as builder:
        while not builder.full:
            builder.add(digest, block)
        builder.finish()
        assert pack_store.put(name, builder.staged)
    entries = read_footer(pack_store, name, pack_store.size(name)).entries
    assert len(entries) == 32
    assert pack_store.read(name, entries[-1].offset, entries[-1].stored) == block


def test_space_is_there(pack_store: PackStore) -> None:
    pack_store.check_space(1)
