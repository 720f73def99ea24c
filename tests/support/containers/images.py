"""nnpm's images, built from a tree's Dockerfile as it is."""

import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from support.containers import stand_ins
from support.containers.dockerfile import Dockerfile
from support.containers.host import build_mounts, has_rust
from support.containers.podman import inspect, podman
from support.tools import REPOSITORY

BASE_LIMITS_MB = {"registry": 250, "artifact": 250, "scheduler": 250, "worker": 400}
TARGETS = ("registry", "artifact", "scheduler", "worker", "minio")
"""What compose runs; worker-gpu is gigabytes that nobody could use here."""


@dataclass(frozen=True, slots=True)
class Built:
    """An image, what it has above its base, and how long it took."""

    name: str
    megabytes: float
    seconds: float


def copy_tree(folder: Path) -> Path:
    """What a clone of the working tree would hold, nothing that git ignores."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listing.split("\0")):
        if (source := REPOSITORY / name).exists():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    return folder


def name_of(target: str, version: str) -> str:
    return f"localhost/nnpm/{target}:{version}"


def version_of(tree: Path) -> str:
    return Dockerfile.parse((tree / "deploy/docker/Dockerfile").read_text()).arguments["VERSION"]


def base_images(tree: Path) -> dict[str, str]:
    """The images that the Dockerfile begins from, by its arguments."""
    arguments = Dockerfile.parse((tree / "deploy/docker/Dockerfile").read_text()).arguments
    return {name: value for name, value in arguments.items() if name.endswith("_IMAGE")}


def third_party_images(tree: Path) -> list[str]:
    """Those that the compose file takes from a registry, outside its profiles."""
    text = (tree / "deploy/compose/compose.yaml").read_text()
    return [
        image
        for image in re.findall(r"^ *image: +(\S+)$", text, re.MULTILINE)
        if re.search(r"/(redis|postgres):", image)
    ]


def transport_of(tree: Path) -> str:
    """`native` where the tree has its source and this machine a Rust to lend; else `python`."""
    return "native" if (tree / "libs/nnpm_wire/Cargo.toml").exists() and has_rust() else "python"


def provide_bases(tree: Path) -> None:
    """Stand-ins for all images that must come from elsewhere."""
    bases = base_images(tree)
    if transport_of(tree) == "python":
        del bases["RUST_IMAGE"]
    for image in (*bases.values(), *third_party_images(tree)):
        stand_ins.provide(image)


def build(tree: Path, version: str, targets: Iterable[str] = TARGETS) -> dict[str, Built]:
    """Build the targets, each tagged with `version`; by target."""
    base = inspect("image", base_images(tree)["PYTHON_IMAGE"])["Size"]
    built = {}
    with tempfile.TemporaryDirectory(prefix="nnpm-build-") as scratch:
        mounts = build_mounts(Path(scratch))
        for target in targets:
            begin = time.monotonic()
            podman(
                *("build", "--format", "docker", "--pull=never", *mounts, "--target", target),
                *("--build-arg", f"VERSION={version}", "--build-arg", "REVISION=under-test"),
                *("--build-arg", f"TRANSPORT={transport_of(tree)}"),
                *("--file", tree / "deploy/docker/Dockerfile", "--tag", name_of(target, version), tree),
                timeout=1200,
            )
            size = (inspect("image", name_of(target, version))["Size"] - base) / 1e6
            built[target] = Built(name_of(target, version), size, time.monotonic() - begin)
    return built
