"""`module:Class`, and the packages that name one."""

from pathlib import Path

import pytest

from nnpm.errors import InvalidArgument
from nnpm.package.entry import Entry
from nnpm.package.folder import from_folder
from nnpm.package.manifest import Manifest

TOML = 'name = "acme/tiny"\nversion = "1.0.0"\nlicense = "MIT"\nruntime = "python"\n'


def test_a_class_is_named_by_its_module() -> None:
    entry = Entry.parse("net.heads:Detector")
    assert (entry.module, entry.name, str(entry)) == ("net.heads", "Detector", "net.heads:Detector")
    assert entry.files == ("net/heads.py", "net/heads/__init__.py")


@pytest.mark.parametrize(
    "text", ["", "model", "model:", ":Model", "model.py:Model:x", "../x:Y", "a-b:C", "a..b:C", "a:B.c", "é:B"]
)
def test_what_names_no_class_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Entry.parse(text)
    assert refused.value.reason == "INVALID_ENTRY"


@pytest.mark.parametrize(("entry", "path"), [("model:Model", "model.py"), ("net:Net", "net/__init__.py")])
def test_a_folder_with_a_class_has_its_module_as_the_model(tmp_path: Path, entry: str, path: str) -> None:
    (tmp_path / "nnpm.toml").write_text(f'{TOML}entry = "{entry}"\n')
    (tmp_path / path).parent.mkdir(exist_ok=True)
    (tmp_path / path).write_text("class Model: ...\n")
    (tmp_path / "weights.bin").write_bytes(bytes(8))
    contents = from_folder(tmp_path)
    assert contents.model == path
    assert contents.config.framework == "python"
    assert set(contents.files) == {path, "weights.bin"}


def test_a_manifest_without_an_entry_keeps_its_text() -> None:
    fields = {"name": "acme/tiny", "version": "1.0.0", "license": "MIT", "model": "m.onnx"}
    files = [{"path": "m.onnx", "size": 1, "digest": f"sha256:{'0' * 64}"}]
    manifest = Manifest.build({**fields, "files": files})
    assert b"entry" not in manifest.canonical()
    assert manifest.framework == "onnx"
