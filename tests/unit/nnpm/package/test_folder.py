import os
from collections.abc import Callable
from pathlib import Path

import pytest

from nnpm.errors import InvalidArgument, NnpmError, NotFound
from nnpm.package.config import Config
from nnpm.package.folder import from_folder, from_model

SETTINGS = Config.build({"name": "acme/tiny", "version": "1.0.0", "license": "MIT"})
TOML = 'name = "acme/tiny"\nversion = "1.0.0"\nlicense = "MIT"\n'


def test_a_bare_model_brings_its_external_data_along(external_model: Path) -> None:
    (external_model.parent / "notes.txt").write_text("not part of it")
    contents = from_model(external_model, SETTINGS)
    assert list(contents.files) == ["model.onnx", "weights.bin"]
    assert contents.model == "model.onnx"


def test_a_folder_is_all_its_files_but_hidden_and_excluded_ones(external_model: Path) -> None:
    folder = external_model.parent
    (folder / "nnpm.toml").write_text(TOML + 'exclude = ["*.py", "notes/*"]\n')
    for name in ("README.md", ".hidden", "train.py", "notes/a.txt", "labels/en.txt", ".git/config", "nnpm.lock"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(name)
    assert list(from_folder(folder).files) == ["README.md", "labels/en.txt", "model.onnx", "weights.bin"]


@pytest.mark.parametrize(
    "location",
    ["../secret.bin", "a/../../secret.bin", "/etc/hostname", "..", "./../secret.bin", "..\\secret.bin", "C:\\secret",
     "a/..", "//etc/hostname"],
)  # fmt: skip
def test_external_data_outside_the_package_is_refused_in_any_spelling(
    relocated: Callable[[str], Path], location: str
) -> None:
    model = relocated(location)
    (model.parent.parent / "secret.bin").write_bytes(bytes(1 << 20))
    with pytest.raises(InvalidArgument) as caught:
        from_model(model, SETTINGS)
    assert caught.value.reason == "EXTERNAL_DATA_OUTSIDE"
    assert "'w'" in str(caught.value)


def test_external_data_through_a_symlink_is_refused(relocated: Callable[[str], Path]) -> None:
    model = relocated("link.bin")
    secret = model.parent.parent / "secret.bin"
    secret.write_bytes(bytes(1 << 20))
    (model.parent / "link.bin").symlink_to(secret)
    with pytest.raises(InvalidArgument) as caught:
        from_model(model, SETTINGS)
    assert caught.value.reason == "EXTERNAL_DATA_OUTSIDE"


def test_external_data_through_a_linked_folder_is_refused(relocated: Callable[[str], Path]) -> None:
    model = relocated("data/secret.bin")
    outside = model.parent.parent / "outside"
    outside.mkdir()
    (outside / "secret.bin").write_bytes(bytes(1 << 20))
    (model.parent / "data").symlink_to(outside)
    with pytest.raises(InvalidArgument) as caught:
        from_model(model, SETTINGS)
    assert caught.value.reason == "EXTERNAL_DATA_OUTSIDE"


def test_external_data_through_a_hard_link_is_refused(relocated: Callable[[str], Path]) -> None:
    model = relocated("link.bin")
    secret = model.parent.parent / "secret.bin"
    secret.write_bytes(bytes(1 << 20))
    os.link(secret, model.parent / "link.bin")
    with pytest.raises(InvalidArgument) as caught:
        from_model(model, SETTINGS)
    assert caught.value.reason == "EXTERNAL_DATA_OUTSIDE"
    assert "copy" in caught.value.hint


def test_missing_external_data_is_named(external_model: Path) -> None:
    (external_model.parent / "weights.bin").unlink()
    with pytest.raises(NotFound) as caught:
        from_model(external_model, SETTINGS)
    assert "weights.bin" in str(caught.value)


def test_external_data_that_is_cut_off_is_refused(external_model: Path) -> None:
    os.truncate(external_model.parent / "weights.bin", 20_000)
    with pytest.raises(InvalidArgument) as caught:
        from_model(external_model, SETTINGS)
    assert caught.value.reason == "INVALID_MODEL_FILE"
    assert "20000" in str(caught.value)


def test_a_link_inside_the_folder_is_what_it_leads_to(external_model: Path) -> None:
    folder = external_model.parent
    (folder / "nnpm.toml").write_text(TOML)
    (folder / "same.bin").symlink_to("weights.bin")
    assert from_folder(folder).files["same.bin"].path == (folder / "weights.bin").resolve()


@pytest.mark.parametrize("target", ["/etc/hostname", "../secret", "/etc", "nowhere", "loop"])
def test_links_that_lead_outside_or_nowhere_are_refused(external_model: Path, target: str) -> None:
    folder = external_model.parent
    (folder.parent / "secret").write_text("secret")
    (folder / "nnpm.toml").write_text(TOML)
    (folder / "loop").symlink_to(target)
    with pytest.raises(NnpmError):
        from_folder(folder)


def test_a_pipe_is_no_file_of_a_package(external_model: Path) -> None:
    folder = external_model.parent
    (folder / "nnpm.toml").write_text(TOML)
    os.mkfifo(folder / "pipe")
    with pytest.raises(InvalidArgument) as caught:
        from_folder(folder)
    assert caught.value.reason == "INVALID_PATH"


def test_which_model_must_be_clear(external_model: Path) -> None:
    folder = external_model.parent
    (folder / "nnpm.toml").write_text(TOML)
    external_model.rename(folder / "a.onnx")
    assert from_folder(folder).model == "a.onnx"
    (folder / "b.onnx").write_bytes((folder / "a.onnx").read_bytes())
    with pytest.raises(InvalidArgument, match=r"2 \.onnx files"):
        from_folder(folder)


@pytest.mark.parametrize("name", ["missing.onnx", "missing/model.onnx"])
def test_a_missing_model_is_not_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound):
        from_model(tmp_path / name, SETTINGS)


def test_folders_nested_without_end_are_refused(external_model: Path) -> None:
    (external_model.parent / "nnpm.toml").write_text(TOML)
    external_model.parent.joinpath(*["d" * 200] * 6).mkdir(parents=True)  # without an end it would be 1,000 and more
    with pytest.raises(InvalidArgument) as caught:
        from_folder(external_model.parent)
    assert caught.value.reason == "INVALID_PATH"
