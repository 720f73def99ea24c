"""Finding, installing and naming packages."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnpm.cli.options import DataOption, JsonOption
from nnpm.cli.output import Output, size, table
from nnpm.cli.transfers import transfer_progress

if TYPE_CHECKING:
    from nnpm.client import Client, Installed, Version

PackageArgument = Annotated[str, typer.Argument(metavar="PACKAGE", help="namespace/name.")]
ReferenceArgument = Annotated[
    str, typer.Argument(metavar="PACKAGE[@RANGE]", help="namespace/name, and a range, version or tag if wanted.")
]


def search(
    query: Annotated[list[str] | None, typer.Argument(help="Words; all must match. None: list everything.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="Show at most so many.")] = 50,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find packages by name, description or keyword.

    \b
    Examples:
      nnpm search
      nnpm search acme/
      nnpm search image classification
    """
    from nnpm.client import Client

    with Client(data) as client:
        found = client.search(" ".join(query or []), limit)
    Output(as_json).result(
        {"packages": found},
        lambda screen: table(
            screen,
            ("PACKAGE", "LATEST", "DESCRIPTION"),
            [(one.name, one.latest_version, one.description) for one in found],
        ),
    )


def show(reference: ReferenceArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show what a version is: signature, licence, files, tags, metrics.

    \b
    Examples:
      nnpm show acme/tiny
      nnpm show 'acme/tiny@^1.2'
    """
    from nnpm.client import Client
    from nnpm.package.manifest import Manifest

    with Client(data) as client:
        found = _shown(client, reference)
        tags = [one.tag for one in client.tags(found.package) if one.version == found.version]
    manifest = Manifest.parse(found.manifest)
    rows = [
        ("package", f"{found.package}@{found.version}"),
        ("digest", found.digest),
        ("description", manifest.description),
        ("license", found.license),
        ("task", manifest.task),
        ("tags", ", ".join(tags)),
        ("published", found.published.isoformat(timespec="seconds") if found.published else ""),
        ("yanked", (found.yank_reason or "yes") if found.yanked else ""),
        ("size", size(found.size)),
        *(("input", _tensor(one)) for one in found.inputs),
        *(("output", _tensor(one)) for one in found.outputs),
        ("opset", ", ".join(f"{domain or 'ai.onnx'} {number}" for domain, number in sorted(found.opsets.items()))),
        ("producer", found.producer),
        *(("file", f"{one.path} ({size(one.size)})") for one in manifest.files),
        *(("metric", f"{name} {value}") for name, value in manifest.metrics.items()),
        *(("needs", f"{name}@{wanted}") for name, wanted in manifest.dependencies.items()),
        ("homepage", manifest.homepage),
    ]
    value = {
        **_version_value(found),
        "package": found.package,
        "tags": tags,
        "inputs": found.inputs,
        "outputs": found.outputs,
        "opsets": found.opsets,
        "producer": found.producer,
        "manifest": manifest.model_dump(mode="json", exclude_defaults=True),
    }
    Output(as_json).result(value, lambda screen: table(screen, ("", ""), [row for row in rows if row[1]]))


def versions(package: PackageArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """List a package's versions, highest first.

    \b
    Example:
      nnpm versions acme/tiny
    """
    from nnpm.client import Client

    with Client(data) as client:
        found = client.versions(package)
        tags = client.tags(package)
    named = {one.version: [tag.tag for tag in tags if tag.version == one.version] for one in found}
    Output(as_json).result(
        {"package": package, "versions": [{**_version_value(one), "tags": named[one.version]} for one in found]},
        lambda screen: table(
            screen,
            ("VERSION", "TAGS", "SIZE", "PUBLISHED", ""),
            [
                (
                    one.version,
                    ", ".join(named[one.version]),
                    size(one.size),
                    one.published.strftime("%Y-%m-%d %H:%M") if one.published else "",
                    "yanked" + (f": {one.yank_reason}" if one.yank_reason else "") if one.yanked else "",
                )
                for one in found
            ],
        ),
    )


def resolve(reference: ReferenceArgument, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Say which exact version a range or tag means, and why.

    \b
    Examples:
      nnpm resolve acme/tiny
      nnpm resolve 'acme/tiny@>=1 <2'
      nnpm resolve 'acme/tiny@~> 1.2.3'
    """
    from nnpm.client import Client

    with Client(data) as client:
        found = client.resolve(reference)
    version_found = found.version
    Output(as_json).done(
        {
            "package": version_found.package,
            "version": version_found.version,
            "digest": version_found.digest,
            "explanation": found.explanation,
        },
        f"{version_found.package}@{version_found.version}\n{version_found.digest}\n{found.explanation}",
    )


def install(
    reference: Annotated[
        str, typer.Argument(metavar="[PACKAGE[@RANGE]]", help="What to install; nothing: what ./nnpm.toml depends on.")
    ] = "",
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where to. Default: nnpm_models/PACKAGE.")
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
        folder = to or Path(INSTALLED, *wanted.package.split("/"))
        with transfer_progress(output) as progress:
            done = client.install_version(wanted, folder, on_progress=progress)
    if done.yanked:
        output.note(
            f"note: {done.package}@{done.version} is yanked{': ' + wanted.yank_reason if wanted.yank_reason else ''}"
        )
    output.done(_installed_value(done), _installed_text(done))


def _install_dependencies(client: "Client", output: Output, folder: Path) -> None:
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
            done.append(client.install_version(found, folder.joinpath(*name.split("/")), on_progress=progress))
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


def tag(
    package: Annotated[str, typer.Argument(metavar="PACKAGE[@VERSION]", help="The package, and which version to tag.")],
    name: Annotated[str, typer.Argument(metavar="[TAG]", help="The tag; nothing: list the package's tags.")] = "",
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="The version, if not given with @.")] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Remove the tag.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List, set, move or remove tags: names that point at a version.

    \b
    Examples:
      nnpm tag acme/tiny
      nnpm tag acme/tiny@1.2.0 champion
      nnpm tag acme/tiny champion --delete
    """
    from nnpm.client import Client

    output = Output(as_json)
    package, _, selector = package.partition("@")
    selector = version or selector
    with Client(data) as client:
        if not name:
            found = client.tags(package)
            output.result(
                {"package": package, "tags": found},
                lambda screen: table(screen, ("TAG", "VERSION"), [(one.tag, one.version) for one in found]),
            )
            return
        if delete:
            client.delete_tag(package, name)
            output.done({"package": package, "tag": name, "deleted": True}, f"removed the tag {name} of {package}")
            return
        if not selector:
            raise typer.BadParameter(f"which version gets the tag? For example nnpm tag {package}@1.0.0 {name}")
        wanted = client.resolve(f"{package}@{selector}").version.version
        made = client.set_tag(package, name, wanted)
    output.done(
        {"package": package, "tag": made.tag, "version": made.version}, f"{package}@{made.tag} is now {made.version}"
    )


def yank(
    reference: Annotated[str, typer.Argument(metavar="PACKAGE@VERSION", help="The exact version.")],
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="The version, if not given with @.")] = "",
    reason: Annotated[str, typer.Option("--reason", help="Shown to whoever names the version.")] = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw a version: nothing chooses it any more, but where an nnpm.lock holds it, it still installs.

    \b
    Example:
      nnpm yank acme/tiny@1.2.0 --reason "wrong labels"
    """
    from nnpm.client import Client

    package, exact = _exact(reference, version)
    with Client(data) as client:
        done = client.yank(package, exact, reason)
    Output(as_json).done({**_version_value(done), "package": package}, f"yanked {package}@{exact}")


def unyank(
    reference: Annotated[str, typer.Argument(metavar="PACKAGE@VERSION", help="The exact version.")],
    version: Annotated[str, typer.Argument(metavar="[VERSION]", help="The version, if not given with @.")] = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a yank back.

    \b
    Example:
      nnpm unyank acme/tiny@1.2.0
    """
    from nnpm.client import Client

    package, exact = _exact(reference, version)
    with Client(data) as client:
        done = client.unyank(package, exact)
    Output(as_json).done({**_version_value(done), "package": package}, f"{package}@{exact} is chosen again")


def version(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print the version of nnpm."""
    del data  # accepted everywhere; nothing here talks to a mesh
    from importlib.metadata import version as version_of

    text = version_of("nnpm")
    Output(as_json).done({"version": text}, f"nnpm {text}")


def _shown(client: "Client", reference: str) -> "Version":
    """The version that the reference means; a yanked one too, when it is named exactly."""
    from nnpm.package.references import PackageReference

    wanted = PackageReference.parse(reference)
    if wanted.selector.version is not None:
        return client.version(str(wanted.package), wanted.selector.text)
    return client.resolve(reference).version


def _exact(reference: str, version: str) -> tuple[str, str]:
    from nnpm.package.versions import Version

    package, _, selector = reference.partition("@")
    return package, str(Version.parse(version or selector))


def _tensor(spec: Any) -> str:
    shape = "any shape" if spec.unranked else "[" + ", ".join("?" if one < 0 else str(one) for one in spec.shape) + "]"
    return f"{spec.name} {spec.datatype} {shape}" + (" (optional)" if spec.optional else "")


def _version_value(found: "Version") -> dict[str, Any]:
    return {
        "version": found.version,
        "digest": found.digest,
        "state": found.state,
        "size": found.size,
        "license": found.license,
        "yanked": found.yanked,
        "yank_reason": found.yank_reason,
        "published": found.published,
    }


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
