from pathlib import Path

import pytest

from nnpm.errors import InvalidArgument, NotFound
from nnpm.package.config import Config

WHOLE = b"""
name = "acme/vision/resnet"
version = "1.2.0"
license = "apache-2.0"
model = "resnet.onnx"
framework = "pytorch"
task = "image-classification"
description = "Sees things."
card = "README.md"
keywords = ["vision"]
homepage = "https://example.org/resnet"
batch_axis = 0
exclude = ["*.py"]

[[inputs]]
name = "pixels"
datatype = "FP32"
shape = [-1, 3, 224, 224]

[[outputs]]
name = "scores"

[[training_data]]
name = "ImageNet-1k"
url = "https://image-net.org"
license = "custom"

[metrics]
top1 = 0.761

[dependencies]
"acme/vision/labels" = "^ 1.2"

[warmup]
shapes = { pixels = [1, 3, 224, 224] }
"""
LEAST = b'name = "acme/tiny"\nversion = "1.0.0"\nlicense = "MIT"\n'


def test_everything_that_can_be_said_is_understood() -> None:
    config = Config.parse(WHOLE)
    assert config.license == "Apache-2.0"
    assert config.inputs[0].shape == (-1, 3, 224, 224)
    assert config.dependencies == {"acme/vision/labels": "^ 1.2"}
    assert config.warmup[0].shapes == {"pixels": (1, 3, 224, 224)}
    assert config.stated()["metrics"] == {"top1": 0.761}
    assert "exclude" not in config.stated()


def test_the_least_is_name_version_and_license() -> None:
    assert Config.parse(LEAST).stated() == {"name": "acme/tiny", "version": "1.0.0", "license": "MIT"}


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        (b'licence = "MIT"', "license"),
        (b"[metric]\na = 1", "metrics"),
        (b'[package]\nname = "a/b"', "top level"),
        (b"surprise = 1", "known are"),
    ],
)
def test_unknown_keys_are_refused_with_a_hint(line: bytes, hint: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Config.parse(LEAST + line)
    assert caught.value.reason == "INVALID_CONFIG"
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "content",
    [
        b"name = ",
        b"\xff",
        b'version = "1.0.0"\nlicense = "MIT"',
        LEAST.replace(b"acme/", b""),
        LEAST + b"batch_axis = 2",
    ],
)
def test_what_is_wrong_is_said(content: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Config.parse(content, "models/nnpm.toml")
    assert caught.value.reason == "INVALID_CONFIG"
    assert str(caught.value).startswith("models/nnpm.toml")


def test_a_missing_file_points_at_init(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as caught:
        Config.load(tmp_path / "nnpm.toml")
    assert "nnpm init" in caught.value.hint


@pytest.mark.parametrize("line", [b"description = " + b"[" * 5000, b"batch_axis = " + b"9" * 5000, b"task = \xff"])
def test_what_the_parser_chokes_on_is_a_refusal(line: bytes) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Config.parse(LEAST + line)
    assert caught.value.reason == "INVALID_CONFIG"
