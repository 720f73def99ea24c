"""Publishing through real processes: draft, upload, commit, and what must never become a version."""

import asyncio
import hashlib
from pathlib import Path

import onnx
import pytest

from nnpm.api.artifact.v1 import artifact_pb2
from nnpm.api.registry.v1 import package_pb2
from nnpm.api.registry.v1 import registry_pb2 as pb
from nnpm.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from nnpm.package.manifest import Manifest
from nnpm.rpc.channels import open_channel
from support import models
from support.onnx_parts import external, with_initializer
from support.registry import Publisher, RegistryProcess, manifest
from support.waiting import eventually

READY, REJECTED = package_pb2.VERSION_STATE_READY, package_pb2.VERSION_STATE_REJECTED
VALIDATING, DRAFT = package_pb2.VERSION_STATE_VALIDATING, package_pb2.VERSION_STATE_DRAFT


def bytes_of(model: onnx.ModelProto) -> bytes:
    return model.SerializeToString()


async def test_a_published_version_says_what_it_takes_and_gives(publisher: Publisher) -> None:
    version = await publisher.publish(models.linear(), description="a linear model", keywords=["small"])
    assert version.state == READY
    assert version.HasField("publish_time")
    (taken,), (given,) = version.signature.inputs, version.signature.outputs
    assert (taken.name, taken.datatype, list(taken.shape)) == ("x", "FP32", [-1, 4])
    assert (given.name, given.datatype, list(given.shape)) == ("y", "FP32", [-1, 3])
    assert dict(version.inspection.opsets) == {"": 17}
    assert version.digest == f"sha256:{hashlib.sha256(version.manifest).hexdigest()}"
    assert await publisher.get() == version
    answer = await publisher.resolve("^1")
    assert answer.version == version
    assert answer.explanation
    found = await publisher.stub.SearchPackages(pb.SearchPackagesRequest(query="linear"))
    assert [package.name for package in found.packages] == ["acme/tiny"]
    assert found.packages[0].latest_version == "1.0.0"


async def test_before_its_commit_a_version_is_in_no_list(publisher: Publisher) -> None:
    files = {"model.onnx": bytes_of(models.linear())}
    await publisher.draft(manifest(files))
    await publisher.upload(files)
    assert (await publisher.get()).state == DRAFT
    for call in (
        publisher.stub.ListVersions(pb.ListVersionsRequest(package="acme/tiny")),
        publisher.stub.GetPackage(pb.GetPackageRequest(package="acme/tiny")),
        publisher.resolve("1.0.0"),
    ):
        with pytest.raises(NotFound):
            await call


async def test_a_commit_before_the_upload_is_refused_and_can_be_made_good(publisher: Publisher) -> None:
    files = {"model.onnx": bytes_of(models.linear()), "README.md": b"# Tiny"}
    wanted = manifest(files)
    await publisher.draft(wanted)
    with pytest.raises(FailedPrecondition) as caught:
        await publisher.commit(wanted)
    assert caught.value.reason == "FILES_MISSING"
    assert "'README.md'" in caught.value.message
    assert (await publisher.get()).state == DRAFT
    await publisher.upload(files)
    assert (await publisher.commit(wanted)).state == READY


async def test_a_commit_is_idempotent(publisher: Publisher) -> None:
    files = {"model.onnx": bytes_of(models.linear())}
    wanted = manifest(files)
    await publisher.draft(wanted)
    await publisher.upload(files)
    answers = await asyncio.gather(*(publisher.commit(wanted) for _ in range(5)))
    assert {answer.state for answer in answers} <= {READY, VALIDATING}
    assert READY in {answer.state for answer in answers}
    first = await publisher.commit(wanted)
    assert first == await publisher.commit(wanted) == await publisher.get()
    listed = await publisher.stub.ListVersions(pb.ListVersionsRequest(package="acme/tiny"))
    assert len(listed.versions) == 1


async def test_a_commit_publishes_exactly_what_was_drafted(publisher: Publisher) -> None:
    mine, theirs = manifest({"model.onnx": b"mine"}), manifest({"model.onnx": b"theirs"})
    await publisher.draft(mine)
    await publisher.draft(theirs)
    with pytest.raises(FailedPrecondition) as caught:
        await publisher.commit(mine)
    assert caught.value.reason == "DRAFT_CHANGED"
    with pytest.raises(NotFound) as missing:
        await publisher.commit(manifest({"model.onnx": b"mine"}, version="2.0.0"))
    assert missing.value.reason == "VERSION_NOT_FOUND"


async def test_a_taken_version_is_refused(publisher: Publisher) -> None:
    await publisher.publish(models.linear(seed=1))
    with pytest.raises(AlreadyExists) as caught:
        await publisher.publish(models.linear(seed=2))
    assert caught.value.reason == "VERSION_TAKEN"
    assert caught.value.hint
    again = await publisher.publish(models.linear(seed=1))
    assert again.state == READY


async def test_a_bare_name_is_refused_with_a_hint(publisher: Publisher) -> None:
    stated = {"format": 1, "name": "tiny", "version": "1.0.0", "license": "MIT", "model": "m.onnx", "files": []}
    with pytest.raises(InvalidArgument) as caught:
        await publisher.draft(stated)
    assert caught.value.reason == "INVALID_MANIFEST"
    assert any(each.field == "name" and "acme/tiny" in each.description for each in caught.value.violations)


async def test_a_refused_version_says_why_and_frees_its_number(publisher: Publisher) -> None:
    refused = await publisher.publish(b"no model at all")
    assert refused.state == REJECTED
    assert [each.reason for each in refused.rejections] == ["INVALID_MODEL_FILE"]
    assert refused.rejections[0].hint
    assert (await publisher.get()).state == REJECTED
    with pytest.raises(NotFound):
        await publisher.resolve("1.0.0")
    assert (await publisher.publish(b"no model at all")).state == REJECTED
    assert (await publisher.publish(models.linear())).state == READY


@pytest.mark.parametrize(
    "location",
    ["../../../etc/passwd", "/etc/passwd", "a/../../weights.bin", "..\\weights.bin", "%2e%2e/weights.bin", "none.bin"],
)
async def test_external_data_outside_the_package_is_refused(publisher: Publisher, location: str) -> None:
    model = with_initializer(external(location=location))
    refused = await publisher.publish(model, files={"weights.bin": bytes(64)})
    assert [each.reason for each in refused.rejections] == ["EXTERNAL_DATA_OUTSIDE"]
    assert "'w'" in refused.rejections[0].message


async def test_external_data_shorter_than_its_tensor_is_refused(publisher: Publisher) -> None:
    refused = await publisher.publish(with_initializer(external()), files={"weights.bin": bytes(63)})
    assert [each.reason for each in refused.rejections] == ["EXTERNAL_DATA_INVALID"]


async def test_external_data_inside_the_package_is_taken(publisher: Publisher) -> None:
    version = await publisher.publish(with_initializer(external()), files={"weights.bin": bytes(64)})
    assert version.state == READY
    assert [spec.name for spec in version.signature.inputs] == ["x"]


async def test_a_manifest_that_states_another_size_is_refused(publisher: Publisher) -> None:
    content = bytes_of(models.linear())
    files = {"model.onnx": content}
    entry = {"path": "model.onnx", "size": len(content) + 1, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}
    wanted = Manifest.build(manifest(files).model_dump(exclude_defaults=True) | {"files": [entry]})
    await publisher.draft(wanted)
    await publisher.upload(files)
    refused = await publisher.commit(wanted)
    assert [each.reason for each in refused.rejections] == ["FILE_SIZE_MISMATCH"]


async def test_declarations_are_held_against_the_graph(publisher: Publisher) -> None:
    refused = await publisher.publish(models.linear(), inputs=[{"name": "x", "datatype": "FP64"}])
    assert [each.reason for each in refused.rejections] == ["SIGNATURE_MISMATCH"]
    assert "FP64" in refused.rejections[0].message


async def test_what_is_published_is_held_and_what_is_refused_is_not(publisher: Publisher) -> None:
    kept = {"model.onnx": bytes_of(models.linear(200, 300, seed=1))}
    wanted = manifest(kept)
    await publisher.draft(wanted)
    uploads = await publisher.upload(kept)
    assert (await publisher.commit(wanted)).state == READY
    garbage = {"model.onnx": b"no model" * 10_000}
    refused = manifest(garbage, version="2.0.0")
    await publisher.draft(refused)
    uploads += await publisher.upload(garbage)
    assert (await publisher.commit(refused)).state == REJECTED
    for upload in uploads:
        await publisher.artifact.stub.DeleteUpload(artifact_pb2.DeleteUploadRequest(upload_id=upload))

    async def collected() -> bool:
        return (await publisher.artifact.collect()).deleted_files == 1

    await eventually(collected, 15)
    digest = hashlib.sha256(kept["model.onnx"]).digest()
    assert await publisher.artifact.read(digest) == kept["model.onnx"]
    assert (await publisher.artifact.collect()).deleted_files == 0


async def test_a_corrupt_model_harms_nobody(publisher: Publisher, registry: RegistryProcess) -> None:
    model = models.linear()
    model.doc_string = "x" * (40 << 20)
    hostile = [
        b"\x3a" + b"\xff" * 9 + b"\x01",
        b"\x0a" * (1 << 20),
        bytes_of(models.linear(300, 300))[:-1000],
        bytes_of(model),
    ]
    versions = [await publisher.publish(content, version=f"1.0.{number}") for number, content in enumerate(hostile)]
    assert [version.state for version in versions] == [REJECTED, REJECTED, REJECTED, READY]
    assert registry.process.returncode is None, registry.process.output
    assert registry.resident_bytes < 300 << 20
    assert (await publisher.publish(models.linear(), version="2.0.0")).state == READY


async def test_a_large_model_costs_the_registry_no_memory(publisher: Publisher, registry: RegistryProcess) -> None:
    before = registry.resident_bytes
    version = await publisher.publish(models.linear(4000, 4000))
    assert version.state == READY
    assert version.size > 64_000_000
    assert registry.resident_bytes - before < 32 << 20


async def test_every_page_of_versions_comes(publisher: Publisher) -> None:
    for number in range(5):
        await publisher.publish(models.constant_version(number), version=f"1.{number}.0")
    first = await publisher.stub.ListVersions(pb.ListVersionsRequest(package="acme/tiny", page_size=3))
    rest = await publisher.stub.ListVersions(
        pb.ListVersionsRequest(package="acme/tiny", page_size=3, page_token=first.next_page_token)
    )
    numbers = [version.version for version in (*first.versions, *rest.versions)]
    assert numbers == ["1.4.0", "1.3.0", "1.2.0", "1.1.0", "1.0.0"]
    assert rest.next_page_token == ""


async def test_tags_yanks_and_drafts_over_the_wire(publisher: Publisher) -> None:
    stub = publisher.stub
    await publisher.publish(models.linear(), version="1.0.0")
    wanted = package_pb2.Tag(package="acme/tiny", tag="champion", version="1.0.0")
    tag = (await stub.SetTag(pb.SetTagRequest(tag=wanted))).tag
    assert tag.etag
    tags = (await stub.ListTags(pb.ListTagsRequest(package="acme/tiny"))).tags
    assert [(each.tag, each.version) for each in tags] == [("champion", "1.0.0"), ("latest", "1.0.0")]
    yank = pb.YankVersionRequest(package="acme/tiny", version="1.0.0", yank_reason="wrong")
    assert (await stub.YankVersion(yank)).version.yanked
    with pytest.raises(FailedPrecondition) as caught:
        await publisher.resolve("champion")
    assert caught.value.reason == "VERSION_YANKED"
    unyank = pb.UnyankVersionRequest(package="acme/tiny", version="1.0.0")
    assert not (await stub.UnyankVersion(unyank)).version.yanked
    await stub.DeleteTag(pb.DeleteTagRequest(package="acme/tiny", tag="champion"))
    await publisher.draft(manifest({"model.onnx": b""}, version="2.0.0"))
    await stub.DeleteVersion(pb.DeleteVersionRequest(package="acme/tiny", version="2.0.0"))
    made = await stub.CreateNamespace(pb.CreateNamespaceRequest(namespace="beta"))
    assert made.namespace.name == "beta"
    assert len((await stub.ListNamespaces(pb.ListNamespacesRequest())).namespaces) == 2
    package = (await stub.GetPackage(pb.GetPackageRequest(package="acme/tiny"))).package
    package.description = "mine"
    changed = await stub.UpdatePackage(pb.UpdatePackageRequest(package=package))
    assert changed.package.description == "mine"
    listed = await stub.ListPackages(pb.ListPackagesRequest(namespace="acme"))
    assert [each.description for each in listed.packages] == ["mine"]


async def test_a_message_that_is_no_protobuf_is_refused(publisher: Publisher, registry: RegistryProcess) -> None:
    async with open_channel(registry.address) as channel:
        call = channel.unary_unary("/nnpm.api.registry.v1.RegistryService/GetPackage")
        with pytest.raises(InvalidArgument) as caught:
            await call(b"\xff\xff\xff")
    assert caught.value.reason == "MALFORMED_REQUEST"


def test_settings_are_checked_at_the_start(tmp_path: Path) -> None:
    process = RegistryProcess(tmp_path, "127.0.0.1:1", {"NNPM_REGISTRY_LISTEN": "0.0.0.0:0"}).process
    with process:
        assert process.wait() == 1
    assert "LISTEN_NOT_LOOPBACK" in process.output
