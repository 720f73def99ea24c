"""The second half of scripts/quickstart: a mesh, a real model, real files, their types, and one call's trace."""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import version
from pathlib import Path

import numpy as np
from magika import Magika
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import nnpm

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "google/magika"
VERSION = "3.3.0"
"""Of the model: `standard_v3_3` in the wheel."""

CARD = f"""# Magika

Tells a file's type from its bytes: 214 types, text and binary. Made by Google, Apache-2.0; the graph is the file
`magika/models/standard_v3_3/model.onnx` of the wheel magika {version("magika")}, unchanged.

Input `bytes`, INT32 [n, 2048]: the first 1,024 bytes of the file without leading white space, then the last 1,024
without trailing white space, each padded with 256. Output `target_label`, FP32 [n, 214]: a probability for each of the
`target_labels_space` in config.json.
"""
MANIFEST = f"""name = "{PACKAGE}"
version = "{VERSION}"
license = "Apache-2.0"
description = "Tells a file's type from its bytes"
task = "file-type-detection"
card = "README.md"
homepage = "https://github.com/google/magika"
keywords = ["files", "mime"]
"""
FILES = (
    "README.md", "pyproject.toml", "LICENSE", ".ci/run", "scripts/quickstart", "protos/buf.yaml",
    "protos/nnpm/api/registry/v1/registry.proto", "libs/nnpm/mesh/supervisor.py", "tests/conformance/go/main.go",
    ".gitignore",
)  # fmt: skip

screen = Console(highlight=False)


@dataclass(frozen=True)
class Mesh:
    """A mesh in a folder of its own, driven by the command line as a person would."""

    data: Path

    def nnpm(self, *arguments: str) -> None:
        """Show a command and run it; SystemExit when it fails."""
        shown = escape(shlex.join(["nnpm", *arguments]))
        screen.print(f"\n[bold]$ {shown}[/]", soft_wrap=True)
        program = Path(sys.executable).with_name("nnpm")
        done = subprocess.run([program, *arguments], env=self.environment, check=False)
        if done.returncode:
            raise SystemExit(f"`nnpm {' '.join(arguments)}` exited {done.returncode}")

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("NNPM_")}
        return inherited | {"NNPM_DATA": str(self.data)}


def main() -> None:
    """The tour; whatever happens, the mesh is stopped at its end."""
    parser = argparse.ArgumentParser(prog="scripts/quickstart", description="Publish, deploy and call a real model.")
    parser.add_argument("--keep", action="store_true", help="let the mesh run on, and say how to stop it")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    begin = time.monotonic()
    try:
        with scratch(keep=arguments.keep) as folder, running(folder / "mesh", keep=arguments.keep) as mesh:
            publish_and_deploy(mesh, folder)
            classify(mesh, folder)
            show_trace(mesh, folder)
            screen.print(f"\nall of that in {time.monotonic() - begin:.0f} s")
            say_what_next(mesh, keep=arguments.keep)
    except KeyboardInterrupt:
        sys.exit("\ninterrupted; everything is stopped")


@contextlib.contextmanager
def scratch(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="nnpm-quickstart-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(data: Path, *, keep: bool) -> Iterator[Mesh]:
    """A mesh on free ports. It is stopped at the end, unless it is to be kept and all went well."""
    mesh = Mesh(data)
    keeping = False
    try:
        mesh.nnpm("up", "--data", str(data), "--port-base", "0", "--detach")
        yield mesh
        keeping = keep
    except SystemExit:
        mesh.nnpm("logs", "-n", "30")
        raise
    finally:
        if not keeping:
            mesh.nnpm("down", "--data", str(data))


def publish_and_deploy(mesh: Mesh, folder: Path) -> None:
    """Make a package folder around the model of the wheel; publish it, deploy it, and install it elsewhere."""
    source = resources.files("magika") / "models" / "standard_v3_3"
    package = folder / "magika"
    package.mkdir()
    (package / "model.onnx").write_bytes((source / "model.onnx").read_bytes())
    (package / "config.json").write_bytes((source / "config.min.json").read_bytes())
    (package / "README.md").write_text(CARD)
    (package / "nnpm.toml").write_text(MANIFEST)
    screen.print("\na package is a folder with an nnpm.toml; the one that the next command takes has this in it:")
    screen.print("".join(f"  {line}\n" for line in MANIFEST.splitlines()), markup=False, end="")
    mesh.nnpm("publish", str(package))
    mesh.nnpm("deploy", f"{PACKAGE}@^3", "--wait")
    mesh.nnpm("install", f"{PACKAGE}@^3", "--to", str(folder / "installed"))
    mesh.nnpm("ps")


def classify(mesh: Mesh, folder: Path) -> None:
    """Ask the deployed model about files of this repository, one gRPC call each, and compare with the wheel's own."""
    labels = json.loads(next((folder / "installed").rglob("config.json")).read_text())["target_labels_space"]
    files = [*(ROOT / name for name in FILES if (ROOT / name).exists()), folder / "magika" / "model.onnx"]
    table = Table(box=None, pad_edge=False)
    for column in ("file", "type", "certainty", "latency"):
        table.add_column(column, justify="right" if column in {"certainty", "latency"} else "left")
    times, answers = [], {}
    with nnpm.Client(mesh.data) as client:
        client.infer(PACKAGE, {"bytes": features(files[0])})
        for file in files:
            begin = time.perf_counter()
            answer = client.infer(PACKAGE, {"bytes": features(file)})
            times.append((time.perf_counter() - begin) * 1e3)
            scores = answer["target_label"][0]
            answers[file] = labels[int(scores.argmax())]
            shown = file.relative_to(ROOT) if file.is_relative_to(ROOT) else file.name
            table.add_row(str(shown), answers[file], f"{scores.max():.1%}", f"{times[-1]:.1f} ms")
    screen.print(f"\n[bold]{len(files)} files, each by a gRPC ModelInfer to {PACKAGE} {answer.version}[/]\n")
    screen.print(table)
    screen.print(f"\nmedian latency {statistics.median(times):.1f} ms, through client, scheduler, Redis and worker")
    say_whether_magika_agrees(answers)


def features(file: Path) -> NDArray[np.int32]:
    """What the model looks at, INT32 [1, 2048]; see the model's card above."""
    content = file.read_bytes()
    begin, end = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
    tokens = np.full(2048, 256, np.int32)
    tokens[: len(begin)] = np.frombuffer(begin, np.uint8)
    tokens[2048 - len(end) :] = np.frombuffer(end, np.uint8)
    return tokens[np.newaxis]


def say_whether_magika_agrees(answers: dict[Path, str]) -> None:
    """Fails unless the wheel's own code, on the model's own graph in this process, gives the same types."""
    magika = Magika()
    own = {file: str(magika.identify_path(file).dl.label) for file in answers}
    different = {file.name: (answers[file], own[file]) for file in answers if answers[file] != own[file]}
    if different:
        raise SystemExit(f"magika's own package, without a mesh, answers otherwise: {different}")
    screen.print("magika's own package, in this process and without a mesh, gives the same answers")


def show_trace(mesh: Mesh, folder: Path) -> None:
    """One more call by the command line, with its trace."""
    np.save(folder / "bytes.npy", features(ROOT / "pyproject.toml"))
    mesh.nnpm(
        *("infer", PACKAGE, "-i", f"bytes={folder / 'bytes.npy'}"), *("-o", str(folder / "answer.npz")), "--trace"
    )


def say_what_next(mesh: Mesh, *, keep: bool) -> None:
    """Commands to go on with: on this mesh if it stays, else on one of the reader's own."""
    own = ("nnpm up --detach", "nnpm init", "nnpm publish", "nnpm deploy me/model --wait", "nnpm ps")
    kept = (f"export NNPM_DATA={mesh.data}", "nnpm status", f"nnpm show {PACKAGE}", "nnpm logs -f", "nnpm down")
    screen.print("\n[bold]try next[/]")
    for line in ("source .venv/bin/activate", *(kept if keep else own)):
        screen.print(f"  {line}", markup=False, soft_wrap=True)
    screen.print(
        "README.md shows the Python and the Go client; any Open Inference Protocol client works too", soft_wrap=True
    )


if __name__ == "__main__":
    main()
