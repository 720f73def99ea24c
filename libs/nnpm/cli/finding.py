"""Finding packages: search, show, versions, resolve."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnpm.cli.options import DataOption, JsonOption
from nnpm.cli.output import Output, size, table
from nnpm.cli.version_value import version_value

if TYPE_CHECKING:
    from nnpm.client import Client, Version


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
        **version_value(found),
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
        {"package": package, "versions": [{**version_value(one), "tags": named[one.version]} for one in found]},
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


def _shown(client: "Client", reference: str) -> "Version":
    """The version that the reference means; a yanked one too, when it is named exactly."""
    from nnpm.package.references import PackageReference

    wanted = PackageReference.parse(reference)
    if wanted.selector.version is not None:
        return client.version(str(wanted.package), wanted.selector.text)
    return client.resolve(reference).version


def _tensor(spec: Any) -> str:
    shape = "any shape" if spec.unranked else "[" + ", ".join("?" if one < 0 else str(one) for one in spec.shape) + "]"
    return f"{spec.name} {spec.datatype} {shape}" + (" (optional)" if spec.optional else "")
