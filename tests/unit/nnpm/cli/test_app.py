import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from nnpm.cli import main
from support.ports import free_port

COMMANDS = [
    "init",
    "publish",
    "search",
    "show",
    "versions",
    "resolve",
    "install",
    "tag",
    "yank",
    "unyank",
    "deploy",
    "undeploy",
    "pause",
    "resume",
    "ps",
    "infer",
    "up",
    "down",
    "status",
    "logs",
    "health",
    "version",
]


def nnpm(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = "import sys; from nnpm.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_every_command_is_there_and_teaches_by_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out
    for command in COMMANDS:
        assert command in listed
        assert main([command, "--help"]) == 0
        text = capsys.readouterr().out
        assert f"nnpm {command}" in text
        assert "--data" in text
        assert "--json" in text


def test_no_command_at_all_shows_the_help_and_no_empty_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    told = capsys.readouterr()
    assert "publish" in told.out + told.err
    assert "error:" not in told.err


def test_version_and_help_do_not_load_the_heavy_libraries() -> None:
    program = (
        "import sys; from nnpm.cli import main; main(['version']); main(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('grpc', 'numpy', 'opentelemetry')))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60, check=False).returncode == 0


def test_version_answers_at_once() -> None:
    def processor_seconds() -> float:
        spent = resource.getrusage(resource.RUSAGE_CHILDREN)
        return spent.ru_utime + spent.ru_stime

    best = 9.0
    for _ in range(3):
        before = processor_seconds()
        assert nnpm("version").returncode == 0
        best = min(best, processor_seconds() - before)
    assert best < 0.6  # 0.2 s here on a quiet machine


def test_version_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["deploy"],
        ["deploy", "acme/tiny", "--replicas", "0"],
        ["deploy", "acme/tiny", "--replicas", "many"],
        ["version", "--surprise"],
        ["infer", "acme/tiny", "--input", "rows.npz"],
        ["up", "--data", ""],
        ["install", "acme/tiny", "--to", ""],
        ["infer", "acme/tiny", "--input", "rows.npz", "-i", "x=1"],
    ],
)
def test_wrong_usage_exits_with_2_and_points_at_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert "--help" in told
    assert main([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["error"]["reason"] == "WRONG_USAGE"


def test_an_argument_that_is_no_text_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "\udcff"]) == 2
    assert "UTF-8" in capsys.readouterr().err


def test_a_bare_model_without_a_name_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    assert main(["publish", str(tmp_path / "model.onnx")]) == 2
    assert "--name, --version, --license" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["publish", "missing.onnx"], 3, "FILE_NOT_FOUND"),
        (["show", "tiny"], 4, "INVALID_PACKAGE_NAME"),
        (["resolve", "acme/tiny@^one"], 4, "INVALID_SELECTOR"),
        (["yank", "acme/tiny@1"], 4, "INVALID_VERSION"),
        (["infer", "acme/tiny", "-i", "x=missing.npy"], 3, "FILE_NOT_FOUND"),
        (["infer", "acme/tiny", "-o", "out.txt"], 4, "INVALID_INPUT_FILE"),
        (["search", "--data", "/nowhere"], 5, "MESH_NOT_RUNNING"),
        (["install"], 3, "FILE_NOT_FOUND"),
    ],
)
def test_each_way_of_failing_has_its_exit_code(
    arguments: list[str],
    code: int,
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for service in ("SCHEDULER", "CONTROL", "REGISTRY", "ARTIFACT"):
        monkeypatch.setenv(f"NNPM_{service}_ADDRESS", f"127.0.0.1:{free_port()}")
    assert main([*arguments, "--json"]) == code
    assert json.loads(capsys.readouterr().err)["error"]["reason"] == reason
    assert main(arguments) == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: ")
    assert all(line.startswith("hint: ") for line in lines[1:])


def test_nobody_listening_is_unavailable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for service in ("SCHEDULER", "CONTROL", "REGISTRY", "ARTIFACT"):
        monkeypatch.setenv(f"NNPM_{service}_ADDRESS", f"127.0.0.1:{free_port()}")
    assert main(["ps"]) == 5
    assert "nnpm up" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_offered(shell: str) -> None:
    done = nnpm("--show-completion", shell)
    assert done.returncode == 0
    assert "nnpm" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_fault() -> None:
    program = "import sys; from nnpm.cli import main; sys.exit(main(['--help']))"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait(30)
