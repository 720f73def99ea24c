"""nnpm.toml: what an author writes beside a model. `nnpm init` writes a first one."""

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, ValidationError

from nnpm.errors import FieldViolation, InvalidArgument, NotFound
from nnpm.package.manifest import Description, PathText, violations_of

FILE_NAME = "nnpm.toml"
_MAX_BYTES = 1 << 20


class Config(Description):
    """The content of nnpm.toml: the manifest's description, which file is the model, and what to leave out."""

    model: PathText | None = None
    """Default: the file of `entry`'s module, else `model.onnx`, or the only `.onnx` file."""
    exclude: Annotated[
        tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...], Field(max_length=256)
    ] = ()
    """Patterns of files to leave out (`*.py`, `notebooks/*`); hidden files and nnpm.toml itself always stay behind."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a file. Raises NotFound FILE_NOT_FOUND or InvalidArgument INVALID_CONFIG."""
        try:
            with path.open("rb") as file:
                content = file.read(_MAX_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError) as fault:
            raise NotFound("FILE_NOT_FOUND", f"{path} does not exist", hint="`nnpm init` writes a first one") from fault
        if len(content) > _MAX_BYTES:
            raise InvalidArgument("INVALID_CONFIG", f"{path} is larger than {_MAX_BYTES} bytes")
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, where: str = FILE_NAME) -> Self:
        """Reads the bytes of an nnpm.toml; `where` names it in messages. Raises InvalidArgument INVALID_CONFIG."""
        try:
            values = tomllib.loads(content.decode())
        except (ValueError, RecursionError) as fault:  # no TOML, no UTF-8, a number of 5,000 digits, nested endlessly
            raise InvalidArgument("INVALID_CONFIG", f"{where} is no TOML: {fault}") from fault
        if isinstance(values.get("warmup"), dict):  # one sample may be written as a plain [warmup] table
            values["warmup"] = [values["warmup"]]
        unknown = sorted(values.keys() - cls.model_fields.keys())
        if unknown:
            raise _unknown_keys(unknown, where, list(cls.model_fields))
        return cls.build(values, where)

    @classmethod
    def build(cls, values: dict[str, Any], where: str = "the package") -> Self:
        """From plain values, as the command line gives them. Raises InvalidArgument INVALID_CONFIG."""
        try:
            return cls.model_validate(values)
        except ValidationError as fault:
            violations = violations_of(fault)
            lines = "; ".join(f"{one.field}: {one.description}" for one in violations)
            raise InvalidArgument("INVALID_CONFIG", f"{where}: {lines}", violations=violations) from fault

    def stated(self) -> dict[str, Any]:
        """The fields that go into the manifest as they are."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"model", "exclude"})


def _unknown_keys(unknown: list[str], where: str, known: list[str]) -> InvalidArgument:
    hints = []
    for key in unknown:
        if key in ("package", "model"):
            hints.append(f"the keys of [{key}] stand at the top level")
        elif close := difflib.get_close_matches(key, known, 1):
            hints.append(f"did you mean {close[0]}?")
    return InvalidArgument(
        "INVALID_CONFIG",
        f"{where}: unknown key{'s' if len(unknown) > 1 else ''} {', '.join(unknown)}",
        hint="; ".join(hints) or f"known are {', '.join(known)}",
        violations=[FieldViolation(key, "unknown key") for key in unknown],
    )
