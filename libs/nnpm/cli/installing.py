"""`nnpm install`: one package, or what a folder depends on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnpm.cli.options import DataOption, JsonOption, folder
from nnpm.cli.output import Output, size
from nnpm.cli.transfers import transfer_progress

if TYPE_CHECKING:
    from nnpm.client import Client, Installed, Version


def install(
    reference: Annotated[
        str, typer.Argument(metavar="[PACKAGE[@RANGE]]", help="What to install; nothing: what ./nnpm.toml depends on.")
    ] = "",
    to: Annotated[
        Path | None,
        typer.Option("--to", parser=folder, metavar="DIR", help="Where to. Default: nnpm_models/PACKAGE."),
    ] = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download a package, every byte verified; interrupted, the same command goes on where it was.

    Without a package it installs the dependencies that ./nnpm.toml names, in the versions that ./nnpm.lock holds, and
    writes that lock.

    \b
    Examples:
      nnpm install acme/tiny --to tiny/
      nnpm install 'acme/vision/resnet@^1.2'
      nnpm install
    """
    from nnpm.client import Client
    from nnpm.package.folder import INSTALLED

    output = Output(as_json)
    with Client(data) as client:
        if not reference:
            _install_dependencies(client, output, to or Path(INSTALLED))
            return
        wanted = client.resolve(reference).version
        target = to or Path(INSTALLED, *wanted.package.split("/"))
        with transfer_progress(output) as progress:
            done = client.install_version(wanted, target, on_progress=progress)
    if done.yanked:
        output.note(
            f"note: {done.package}@{done.version} is yanked{': ' + wanted.yank_reason if wanted.yank_reason else ''}"
        )
    output.done(_installed_value(done), _installed_text(done))


def _install_dependencies(client: "Client", output: Output, target: Path) -> None:
    from nnpm.package import lock
    from nnpm.package.config import FILE_NAME, Config

    config = Config.load(Path(FILE_NAME))
    locked = lock.Lock.load(Path(lock.FILE_NAME))
    done = []
    resolved = {}
    for name, wanted in config.dependencies.items():
        held = locked.packages.get(name)
        if held is not None and held.range == wanted:
            found = client.version(name, held.version)
            _check_lock(found, held.digest)
        else:
            found = client.resolve(f"{name}@{wanted}").version
        with transfer_progress(output) as progress:
            done.append(client.install_version(found, target.joinpath(*name.split("/")), on_progress=progress))
        resolved[name] = lock.LockedVersion(wanted, found.version, found.digest)
    lock.Lock(resolved).save(Path(lock.FILE_NAME))
    output.done(
        {"installed": [_installed_value(one) for one in done], "lock": Path(lock.FILE_NAME)},
        "\n".join(map(_installed_text, done)) or f"{FILE_NAME} names no dependencies",
    )


def _check_lock(found: "Version", digest: str) -> None:
    from nnpm.errors import DataLoss

    if found.digest != digest:
        raise DataLoss(
            "CONTENT_MISMATCH",
            f"{found.package}@{found.version} has digest {found.digest}, but nnpm.lock holds {digest}",
            hint="it comes from another registry; delete its entry in nnpm.lock only if that is meant",
        )


def _installed_value(done: "Installed") -> dict[str, Any]:
    return {
        "package": done.package,
        "version": done.version,
        "digest": done.digest,
        "folder": done.folder,
        "files": done.files,
        "size": done.total_bytes,
        "downloaded_bytes": done.downloaded_bytes,
        "yanked": done.yanked,
    }


def _installed_text(done: "Installed") -> str:
    came = "all of it was there" if not done.downloaded_bytes else f"{size(done.downloaded_bytes)} downloaded"
    return f"installed {done.package}@{done.version} in {done.folder} ({size(done.total_bytes)}, {came})"
