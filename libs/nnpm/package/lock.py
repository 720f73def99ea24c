"""nnpm.lock: what a folder's dependencies were resolved to, so that the next install takes the same."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from nnpm.errors import InvalidArgument
from nnpm.package.files import write_atomically
from nnpm.package.manifest import DigestText, PackageText, VersionText, violations_of

FILE_NAME = "nnpm.lock"
_HEADER = "# Written by nnpm install. Commit it; change nnpm.toml instead of this.\n"


@dataclass(frozen=True, slots=True)
class LockedVersion:
    """One package as it was resolved: for which range, to which version and digest."""

    range: str
    version: str
    digest: str


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    name: PackageText
    range: str
    version: VersionText
    digest: DigestText


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    format: Literal[1]
    package: Annotated[tuple[_Entry, ...], "by name"] = ()


@dataclass(frozen=True, slots=True)
class Lock:
    """Package name -> what it was resolved to."""

    packages: Mapping[str, LockedVersion] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a lock; one that does not exist is empty. Raises InvalidArgument INVALID_LOCK."""
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return cls()
        try:
            parsed = _File.model_validate(tomllib.loads(content.decode()))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
            raise InvalidArgument(
                "INVALID_LOCK", f"{path} is no TOML: {fault}", hint="delete it to resolve anew"
            ) from fault
        except ValidationError as fault:
            first = violations_of(fault)[0]
            raise InvalidArgument(
                "INVALID_LOCK",
                f"{path}: {first.field}: {first.description}",
                hint="upgrade nnpm if a newer one wrote it, or delete it to resolve anew",
            ) from fault
        return cls({one.name: LockedVersion(one.range, one.version, one.digest) for one in parsed.package})

    def save(self, path: Path) -> None:
        """Writes it whole or not at all."""
        lines = [_HEADER, "format = 1\n"]
        for name, locked in sorted(self.packages.items()):
            lines.append(f'\n[[package]]\nname = "{name}"\nrange = "{locked.range}"\n')
            lines.append(f'version = "{locked.version}"\ndigest = "{locked.digest}"\n')
        write_atomically(path, "".join(lines).encode())
