"""`nnpm init` and `nnpm publish`: what an author does."""

import json
from pathlib import Path
from typing import Annotated

import typer

from nnpm.cli.options import DataOption, JsonOption
from nnpm.cli.output import Output, size
from nnpm.cli.transfers import transfer_progress

_CONFIG = """\
# What this package is; `nnpm publish` reads it. All keys: nnpm publish --help
name = {name}
version = {version}
license = {license}            # SPDX, for example Apache-2.0 or MIT
model = {model}
description = ""
task = ""                         # for example image-classification
keywords = []
card = "README.md"

# 0: requests may be joined along axis 0; "none": never. Without it, a probe at load time finds out.
# batch_axis = 0

# A Python class in the place of a graph; its inputs and outputs must be declared.
# runtime = "python"
# entry = "model:Model"

# Checked against the graph when given.
# [[inputs]]
# name = "x"
# datatype = "FP32"
# shape = [-1, 4]

# [[training_data]]
# name = "ImageNet-1k"
# url = "https://image-net.org"

# [metrics]
# accuracy = 0.91

# [dependencies]
# "acme/tokenizer" = "^1.2"

# A call to make before the model is ready: zeros of these shapes, or file = "sample.npz".
# [warmup]
# shapes = {{ x = [1, 4] }}
"""

_CARD = """\
# {name}

What the model does, what it was trained on, where it fails.
"""


def init(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the model; made if missing.")] = Path(),
    name: Annotated[str, typer.Option("--name", help="namespace/name.", show_default=False)] = "",
    version: Annotated[str, typer.Option("--version", help="SemVer 2.0.")] = "0.1.0",
    license: Annotated[str, typer.Option("--license", help="SPDX expression.")] = "Apache-2.0",  # noqa: A002
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a first nnpm.toml (and a model card) beside a model.

    \b
    Examples:
      nnpm init
      nnpm init resnet/ --name acme/vision/resnet --license MIT
    """
    del data  # accepted everywhere; nothing here talks to a mesh
    from nnpm.errors import AlreadyExists
    from nnpm.package.config import FILE_NAME, Config

    target = folder / FILE_NAME
    if target.exists():
        raise AlreadyExists("FILE_EXISTS", f"{target} exists", hint="edit it, or remove it first")
    models = sorted(path.name for path in folder.glob("*.onnx"))
    filled = _CONFIG.format(
        name=_quoted(name or f"my-namespace/{_segment(folder.resolve().name)}"),
        version=_quoted(version),
        license=_quoted(license),
        model=_quoted(models[0] if models else "model.onnx"),
    )
    Config.parse(filled.encode("utf-8", "replace"), str(target))
    folder.mkdir(parents=True, exist_ok=True)
    target.write_text(filled, encoding="utf-8")
    card = folder / "README.md"
    if not card.exists():
        card.write_text(_CARD.format(name=name or folder.resolve().name), encoding="utf-8")
    Output(as_json).done({"config": target, "card": card}, f"wrote {target}; edit it, then `nnpm publish {folder}`")


def publish(
    path: Annotated[Path, typer.Argument(help="A folder with nnpm.toml, or a model file.")] = Path(),
    name: Annotated[str, typer.Option("--name", help="namespace/name; replaces nnpm.toml's.", show_default=False)] = "",
    version: Annotated[
        str, typer.Option("--version", help="SemVer 2.0; replaces nnpm.toml's.", show_default=False)
    ] = "",
    license: Annotated[  # noqa: A002
        str, typer.Option("--license", help="SPDX expression; replaces nnpm.toml's.", show_default=False)
    ] = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a model: upload what the mesh lacks of it, have it checked, make the version appear.

    A bare model.onnx brings the external data files beside it along. Interrupted at any point, the same command goes on
    where it was. A version is immutable once published.

    \b
    Examples:
      nnpm publish model.onnx --name acme/tiny --version 1.0.0 --license MIT
      nnpm publish resnet/    (a folder with nnpm.toml: nnpm init writes one)
      nnpm publish resnet/ --version 1.0.1

    \b
    Keys of nnpm.toml:
      name, version, license (these three are needed), model, framework,
      runtime, entry, description, task, keywords, card, homepage, batch_axis, exclude
      tables: metrics, dependencies, warmup (shapes or file)
      lists of tables: inputs, outputs (name, datatype, shape),
      training_data (name, url, license)
    """
    from nnpm.client import Client
    from nnpm.client.async_client import collect

    output = Output(as_json)
    missing = [
        f"--{option}" for option, value in (("name", name), ("version", version), ("license", license)) if not value
    ]
    if missing and path.is_file():
        raise typer.BadParameter(
            f"a bare model needs {', '.join(missing)} too, for example "
            f"nnpm publish {path} --name acme/tiny --version 1.0.0 --license Apache-2.0"
        )
    contents = collect(path, {"name": name, "version": version, "license": license})
    with Client(data) as client, transfer_progress(output) as show:
        done = client.publish_contents(contents, on_progress=show)
    published = done.version
    reference = f"{published.package}@{published.version}"
    if done.already:
        text = f"{reference} is published already, with the same content"
    else:
        text = f"published {reference} ({size(done.total_bytes)}, {size(done.uploaded_bytes)} sent)"
    output.done(
        {
            "package": published.package,
            "version": published.version,
            "digest": published.digest,
            "size": done.total_bytes,
            "uploaded_bytes": done.uploaded_bytes,
            "already_published": done.already,
        },
        f"{text}\n{published.digest}",
    )


def _quoted(text: str) -> str:
    """A TOML string; JSON's are among them."""
    return json.dumps(text, ensure_ascii=False)


def _segment(text: str) -> str:
    kept = "".join(character if character.isascii() and character.isalnum() else "-" for character in text.lower())
    return kept.strip("-")[:63] or "model"
