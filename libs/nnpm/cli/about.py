"""`nnpm version`."""

from nnpm.cli.options import DataOption, JsonOption
from nnpm.cli.output import Output


def version(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Print the version of nnpm."""
    del data  # accepted everywhere; nothing here talks to a mesh
    from importlib.metadata import version as version_of

    text = version_of("nnpm")
    Output(as_json).done({"version": text}, f"nnpm {text}")
