"""Files of any size take constant memory."""

import hashlib
import random
from collections.abc import AsyncIterator, Callable

from nnpm.api.artifact.v1 import artifact_pb2 as pb
from nnpm.package.digest import format_digest
from nnpm.rpc.channels import open_channel
from nnpm_artifact.recipes import Chunk
from support.artifact import ArtifactClient, commit_messages
from support.artifact_process import ArtifactProcess

MIB = 1 << 20
SIZE = 400 * MIB
CHUNK = 65_536


async def test_a_large_file_takes_constant_memory(artifact_process: Callable[..., ArtifactProcess]) -> None:
    service = artifact_process({})
    recipe: list[Chunk] = []
    whole = hashlib.sha256()

    async def messages(upload: str) -> AsyncIterator[pb.UploadChunksRequest]:
        draw = random.Random(1)
        for _ in range(SIZE // (2 * MIB)):
            pieces = [draw.randbytes(CHUNK) for _ in range(2 * MIB // CHUNK)]
            recipe.extend(Chunk(hashlib.sha256(piece).digest(), len(piece)) for piece in pieces)
            whole.update(b"".join(pieces))
            brought = zip(recipe[-len(pieces) :], pieces, strict=True)
            yield pb.UploadChunksRequest(
                upload_id=upload, chunks=[pb.ChunkData(digest=chunk.digest, data=piece) for chunk, piece in brought]
            )

    async with open_channel(service.address) as channel:
        client = ArtifactClient(channel)
        upload = await client.open_upload()
        before = service.resident_bytes
        await client.stub.UploadChunks(messages(upload))
        after_upload = service.resident_bytes
        await client.stub.CommitFile(commit_messages(upload, whole.digest(), SIZE, recipe))
        after_commit = service.resident_bytes
        read, again = 0, hashlib.sha256()
        request = pb.ReadFileRequest(namespace="acme", digest=format_digest(whole.digest()))
        async for part in client.stub.ReadFile(request):
            read += len(part.data)
            again.update(part.data)
        after_read = service.resident_bytes
    assert (read, again.digest()) == (SIZE, whole.digest())
    assert max(after_upload, after_commit, after_read) < before + 120 * MIB
    assert after_read < 250 * MIB
