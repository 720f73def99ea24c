import pytest

from nnpm.errors import InvalidArgument
from nnpm.package.paths import check_path, clash_among, resolve_beside


@pytest.mark.parametrize("path", ["model.onnx", "weights/layer 1.bin", "onnx::MatMul_12", "ümlaut.bin", "a.b-c_d"])
def test_plain_relative_paths_may_stand_in_a_package(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "", "/etc/passwd", "../up", "a/../b", "a/..", "..", ".", "./a", "a//b", "a/", "C:\\x", "C:x", "a\\b", "..\\up",
        "a\x00b", "a\nb", "a\u202eb", "a\u200bb", "u\u0308", "a\udc80", " a", "a ", "a.", "a/" + "b" * 256,
        "a/" * 520 + "b", ".bashrc", ".git/config", "a/.b", ".nnpm-parts/x", "...",
    ],
)  # fmt: skip
def test_others_are_refused(path: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        check_path(path)
    assert caught.value.reason == "INVALID_PATH"
    str(caught.value).encode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    "paths", [["A.bin", "a.bin"], ["straße", "STRASSE"], ["a", "a/b"], ["A", "a/b"], ["\ufb01le", "file"]]
)
def test_one_file_on_some_system_is_a_clash(paths: list[str]) -> None:
    assert clash_among(paths)


def test_different_files_are_no_clash() -> None:
    assert not clash_among(["a", "b/a", "b/c", "ab"])


def test_a_location_is_relative_to_the_file_that_names_it() -> None:
    assert resolve_beside("model.onnx", "weights.bin") == "weights.bin"
    assert resolve_beside("onnx/model.onnx", "./data/w.bin") == "onnx/data/w.bin"


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "a/../../w", "/w", "//w", "..", "a/..", "C:/w", "\\\\host\\w", "..\\w", "", "./../w", "././w"],
)
def test_a_location_outside_in_any_spelling_is_refused(location: str) -> None:
    with pytest.raises(InvalidArgument):
        resolve_beside("onnx/model.onnx", location)
