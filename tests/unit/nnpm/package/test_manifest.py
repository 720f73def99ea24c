import json
from typing import Any

import pytest

from nnpm.errors import InvalidArgument
from nnpm.package.manifest import MAX_BYTES, Manifest

DIGEST = "sha256:" + "0" * 64
LEAST: dict[str, Any] = {
    "name": "acme/tiny",
    "version": "1.0.0",
    "license": "Apache-2.0",
    "model": "model.onnx",
    "files": [{"path": "model.onnx", "size": 3, "digest": DIGEST}],
}
FULL: dict[str, Any] = LEAST | {
    "batch_axis": 0,
    "description": "tiny ☃",
    "task": "demo",
    "keywords": ["a", "b"],
    "homepage": "https://example.org",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
    "outputs": [{"name": "y"}],
    "warmup": [{"shapes": {"x": [1, 4]}}],
    "dependencies": {"acme/base": "^ 1.2"},
    "training_data": [{"name": "mnist"}],
    "metrics": {"accuracy": 0.5, "loss": 1e-7},
}


def test_canonical_form_and_digest_are_frozen() -> None:
    manifest = Manifest.build(LEAST)
    assert manifest.canonical() == (
        b'{"files":[{"digest":"' + DIGEST.encode() + b'","path":"model.onnx","size":3}],"format":1,"framework":"onnx",'
        b'"license":"Apache-2.0","model":"model.onnx","name":"acme/tiny","runtime":"onnx","version":"1.0.0"}'
    )
    assert manifest.digest() == "sha256:42a5996dbf7d7feffda84299b7923db560acce736a17ee292ad75b05da7682b5"


@pytest.mark.parametrize("values", [LEAST, FULL])
def test_parsing_the_canonical_form_gives_it_again(values: dict[str, Any]) -> None:
    manifest = Manifest.build(values)
    assert Manifest.parse(manifest.canonical()) == manifest
    assert Manifest.parse(manifest.canonical()).canonical() == manifest.canonical()


def test_the_digest_does_not_depend_on_how_the_json_was_written() -> None:
    shuffled = json.dumps(dict(reversed(FULL.items())), indent=3, ensure_ascii=True).encode()
    assert Manifest.parse(shuffled).digest() == Manifest.build(FULL).digest()


def test_empty_optional_fields_leave_no_trace() -> None:
    assert (
        Manifest.build(LEAST | {"description": "", "keywords": [], "metrics": {}}).digest()
        == Manifest.build(LEAST).digest()
    )


def test_licences_are_spelled_as_spdx_does() -> None:
    assert Manifest.build(LEAST | {"license": "mit OR apache-2.0"}).license == "MIT OR Apache-2.0"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "tiny"}, "name"),
        ({"version": "1.0"}, "version"),
        ({"license": "Free Beer"}, "license"),
        ({"surprise": 1}, "surprise"),
        ({"model": "other.onnx"}, ""),
        ({"card": "README.md"}, ""),
        ({"files": []}, ""),
        ({"files": [{"path": "../model.onnx", "size": 3, "digest": DIGEST}]}, "files[0].path"),
        ({"files": [{"path": "model.onnx", "size": -1, "digest": DIGEST}]}, "files[0].size"),
        ({"files": [{"path": "model.onnx", "size": 2**53, "digest": DIGEST}]}, "files[0].size"),
        ({"files": [{"path": "model.onnx", "size": True, "digest": DIGEST}]}, "files[0].size"),
        ({"files": [{"path": "model.onnx", "size": 3, "digest": "sha256:0"}]}, "files[0].digest"),
        ({"files": [LEAST["files"][0] | {"path": path} for path in ("model.onnx", "MODEL.onnx")]}, ""),
        ({"files": [LEAST["files"][0] | {"path": path} for path in ("model.onnx", "a.bin")]}, ""),
        ({"batch_axis": 1}, "batch_axis"),
        ({"batch_axis": False}, "batch_axis"),
        ({"metrics": {"a": float("nan")}}, "metrics.a"),
        ({"dependencies": {"acme/base": "newest"}}, "dependencies.acme/base"),
        ({"inputs": [{"name": "x", "datatype": "FLOAT"}]}, "inputs[0].datatype"),
        ({"warmup": [{}]}, "warmup[0]"),
        ({"homepage": "javascript:alert(1)"}, "homepage"),
        ({"description": "x" * 5000}, "description"),
    ],
)
def test_what_is_wrong_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Manifest.build(LEAST | change)
    assert caught.value.reason == "INVALID_MANIFEST"
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"name": NaN}', b"\xff", b'{"name": 1, "name": 2}', b"[" * 100_000, b" " * (MAX_BYTES + 1)],
)
def test_bytes_that_are_no_manifest_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Manifest.parse(content)
    assert caught.value.reason == "INVALID_MANIFEST"


def test_a_newer_format_asks_for_an_upgrade() -> None:
    with pytest.raises(InvalidArgument) as caught:
        Manifest.parse(json.dumps(LEAST | {"format": 2}).encode())
    assert caught.value.hint == "upgrade nnpm"
