"""The Dockerfile keeps hadolint's rules and ours, and what it pins is what the rest of the repository says."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support.containers.dockerfile import Dockerfile, faults
from support.tools import REPOSITORY

DOCKER = REPOSITORY / "deploy" / "docker"
TEXT = (DOCKER / "Dockerfile").read_text()
TARGETS = ["registry", "artifact", "scheduler", "worker", "worker-gpu", "minio"]

# Keeps every rule.
GOOD = """
ARG BASE_IMAGE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE_IMAGE} AS build
WORKDIR /build
RUN apt-get update && apt-get install --yes --no-install-recommends gcc && rm -rf /var/lib/apt/lists/*
COPY lock.txt ./
RUN --mount=type=cache,target=/root/.cache/pip pip install --require-hashes -r lock.txt
COPY pyproject.toml source/
FROM ${BASE_IMAGE} AS runtime
COPY --from=build /opt /opt
VOLUME /data
USER 10001:10001
HEALTHCHECK CMD ["health"]
ENTRYPOINT ["serve"]
LABEL org.opencontainers.image.title="t" org.opencontainers.image.description="d" org.opencontainers.image.source="s" \\
      org.opencontainers.image.licenses="l" org.opencontainers.image.version="v" org.opencontainers.image.revision="r"
"""


def test_the_dockerfile_keeps_every_rule() -> None:
    assert faults(TEXT) == []


def test_a_file_that_keeps_every_rule_has_no_fault() -> None:
    assert faults(GOOD) == []


@pytest.mark.parametrize(
    ("good", "bad", "told"),
    [
        ("python:3.11-slim-bookworm", "python", "tag"),
        ("python:3.11-slim-bookworm", "python:latest", "latest"),
        ("docker.io/library/python", "python", "registry"),
        (" AS build\n", "\n", "name"),
        ("--from=build", "--from=builder", "no stage"),
        ("USER 10001:10001", "USER nnpm", "number"),
        ("USER 10001:10001", "USER 0", "number"),
        ("USER 10001:10001\n", "", "number"),
        ("image.revision", "image.ref", "revision"),
        ("VOLUME /data\n", "", "VOLUME"),
        ('HEALTHCHECK CMD ["health"]\n', "", "HEALTHCHECK"),
        ('HEALTHCHECK CMD ["health"]', "HEALTHCHECK CMD health", "shell form"),
        ('ENTRYPOINT ["serve"]', "ENTRYPOINT serve", "shell form"),
        ('ENTRYPOINT ["serve"]', 'ENTRYPOINT ["serve"]\nENTRYPOINT ["serve"]', "last"),
        ("VOLUME /data\n", "VOLUME /data\nRUN pip install --require-hashes --no-cache-dir -r lock.txt\n", "ship"),
        ("apt-get update && ", "", "update"),
        (" --no-install-recommends", "", "recommends"),
        (" && rm -rf /var/lib/apt/lists/*", "", "lists"),
        ("--yes ", "", "yes"),
        ("apt-get install", "apt install", "people"),
        ("--mount=type=cache,target=/root/.cache/pip ", "", "cache"),
        ("--require-hashes ", "", "hash"),
        ("WORKDIR /build", "WORKDIR /build\nRUN curl -f https://example.org/x | sh", "pipefail"),
        ("COPY lock.txt", "ADD lock.txt", "ADD"),
        ("WORKDIR /build", "WORKDIR build", "absolute"),
        ("WORKDIR /build", "WORKDIR /build\nRUN cd /tmp && ls", "cd"),
        ("WORKDIR /build", "WORKDIR /build\nRUN sudo ls", "sudo"),
        ("WORKDIR /build", "WORKDIR /build\nENV S3_SECRET_KEY=x", "secret"),
        ("COPY lock.txt ./", "COPY . ./", "everything"),
        ("COPY lock.txt ./", "COPY pyproject.toml source/\nCOPY lock.txt ./", "anew"),
    ],
)
def test_each_rule_finds_who_breaks_it(good: str, bad: str, told: str) -> None:
    assert good in GOOD
    found = faults(GOOD.replace(good, bad))
    assert any(told in fault for fault in found), found


def test_there_is_one_target_for_each_image() -> None:
    assert [stage.name for stage in Dockerfile.parse(TEXT).targets] == TARGETS


def test_the_version_of_the_images_is_the_project_s() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert Dockerfile.parse(TEXT).arguments["VERSION"] == project["version"]


def test_minio_in_the_image_is_the_one_that_the_suites_run() -> None:
    (version,) = re.findall(r"^ARG MINIO_VERSION=(\S+)", TEXT, re.MULTILINE)
    assert f"github.com/minio/minio@{version}" in (REPOSITORY / "scripts" / "provision.py").read_text()


def test_only_a_script_writes_digests() -> None:
    """Base images stand there as tags; what pins them is scripts/pin-images, which knows these lines."""
    images = re.findall(r"^ARG [A-Z]+_IMAGE=(\S+)$", TEXT, re.MULTILINE)
    assert images
    for image in images:
        assert re.fullmatch(r"docker\.io/library/\w+:[\w.-]+(@sha256:[0-9a-f]{64})?", image), image


def _locked(name: str) -> dict[str, str]:
    text = (DOCKER / "requirements" / f"{name}.txt").read_text()
    return {
        canonicalize_name(package): version for package, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE)
    }


def _wanted(extra: str) -> list[Requirement]:
    """What nnpm with an extra needs, by pyproject.toml: its own extras followed."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    found, pending = [], [*project["dependencies"], f"nnpm[{extra}]"]
    while pending:
        requirement = Requirement(pending.pop())
        if requirement.name == "nnpm":
            pending += [each for name in requirement.extras for each in project["optional-dependencies"][name]]
        elif requirement.marker is None or requirement.marker.evaluate({"sys_platform": "linux"}):
            found.append(requirement)
    return found


@pytest.mark.parametrize("target", TARGETS[:-1])
def test_the_lock_files_hold_what_the_project_needs(target: str) -> None:
    """`scripts/pin-python --keep` writes them anew after a change of pyproject.toml."""
    locked = _locked("service") | _locked(target)
    for requirement in _wanted(target):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not in the lock files of {target}"
        assert requirement.specifier.contains(version), f"{requirement} and {version} of {target}'s lock files"


def test_the_build_s_lock_file_holds_what_builds_the_wheel() -> None:
    locked = _locked("build")
    for text in tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["build-system"]["requires"]:
        requirement = Requirement(text)
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("path", sorted((DOCKER / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_every_locked_package_has_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    for block in re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]:
        assert "--hash=sha256:" in block, block


def test_the_build_context_leaves_out_what_is_not_named() -> None:
    lines = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    allowed = [line[1:] for line in lines if line.startswith("!")]
    for source in sources:
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source
