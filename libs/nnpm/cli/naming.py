"""Naming and withdrawing versions: tag, yank, unyank."""

from typing import Annotated

import typer

from nnpm.cli.options import DataOption, JsonOption
from nnpm.cli.output import Output, table
from nnpm.cli.version_value import version_value


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
    Output(as_json).done({**version_value(done), "package": package}, f"yanked {package}@{exact}")


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
    Output(as_json).done({**version_value(done), "package": package}, f"{package}@{exact} is chosen again")


def _exact(reference: str, version: str) -> tuple[str, str]:
    from nnpm.package.versions import Version

    package, _, selector = reference.partition("@")
    return package, str(Version.parse(version or selector))
