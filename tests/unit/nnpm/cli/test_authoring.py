from pathlib import Path

import pytest

from nnpm.cli import main
from nnpm.package.config import Config


def test_init_writes_a_config_that_publish_understands(tmp_path: Path) -> None:
    folder = tmp_path / "My Model"
    assert main(["init", str(folder)]) == 0
    config = Config.load(folder / "nnpm.toml")
    assert (config.name, config.version, config.card) == ("my-namespace/my-model", "0.1.0", "README.md")
    assert (folder / "README.md").exists()


def test_init_takes_the_model_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "resnet.onnx").write_bytes(b"")
    (tmp_path / "README.md").write_text("mine")
    assert main(["init", str(tmp_path), "--name", "acme/resnet", "--license", "MIT"]) == 0
    config = Config.load(tmp_path / "nnpm.toml")
    assert (config.name, config.model, config.license) == ("acme/resnet", "resnet.onnx", "MIT")
    assert (tmp_path / "README.md").read_text() == "mine"


def test_init_overwrites_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nnpm.toml").write_text("mine")
    assert main(["init", str(tmp_path)]) == 4
    assert "exists" in capsys.readouterr().err
    assert (tmp_path / "nnpm.toml").read_text() == "mine"


def test_init_with_a_bad_name_writes_nothing(tmp_path: Path) -> None:
    assert main(["init", str(tmp_path / "new"), "--name", "Acme"]) == 4
    assert list(tmp_path.iterdir()) == []


def test_init_quotes_what_it_finds(tmp_path: Path) -> None:
    (tmp_path / 'a "b" #.onnx').write_bytes(b"")
    assert main(["init", str(tmp_path)]) == 0
    assert Config.load(tmp_path / "nnpm.toml").model == 'a "b" #.onnx'
    assert main(["init", str(tmp_path / "new"), "--license", '"\nname = "x/y']) == 4


@pytest.mark.parametrize(
    "line", ["# batch_axis = 0", "# [metrics]\n# accuracy = 0.91", "# [warmup]\n# shapes = { x = [1, 4] }"]
)
def test_what_init_suggests_can_be_switched_on(tmp_path: Path, line: str) -> None:
    assert main(["init", str(tmp_path)]) == 0
    text = (tmp_path / "nnpm.toml").read_text()
    assert line in text
    Config.parse(text.replace(line, line.replace("# ", "")).encode())
