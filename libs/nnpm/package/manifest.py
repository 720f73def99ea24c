"""A version's manifest: what is in it and what it says of itself.

The digest of a version is SHA-256 over its manifest in canonical JSON (RFC 8785), so that there is one text, and one
digest, for one content. Empty optional fields are left out of it.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import rfc8785
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from nnpm.errors import FieldViolation, InvalidArgument, NnpmError
from nnpm.package import paths
from nnpm.package.digest import check_digest, digest_of
from nnpm.package.entry import RUNTIME as PYTHON
from nnpm.package.entry import Entry
from nnpm.package.licenses import canonical_license
from nnpm.package.names import PackageName
from nnpm.package.ranges import Range
from nnpm.package.versions import Version

FORMAT = 1
MAX_BYTES = 4 << 20
MAX_FILES = 10_000
MAX_SAFE_INTEGER = 2**53 - 1
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "BF16", "FP32", "FP64", "BYTES",
]  # fmt: skip
"""The datatypes of the Open Inference Protocol."""


def _checked(check: Any) -> AfterValidator:
    """A pydantic validator from a function of ours that raises NnpmError."""

    def validate(value: str) -> str:
        try:
            return str(check(value))
        except NnpmError as fault:
            raise ValueError(f"{fault.message}; {fault.hint}" if fault.hint else fault.message) from fault

    return AfterValidator(validate)


def _not_a_flag(value: object) -> object:
    """Python takes False for 0, which would mean the opposite of what `batch_axis = false` was meant to say."""
    if isinstance(value, bool):
        raise ValueError('write 0 or "none"')  # noqa: TRY004 (pydantic reads ValueError)
    return value


PackageText = Annotated[str, _checked(PackageName.parse)]
VersionText = Annotated[str, _checked(Version.parse)]
RangeText = Annotated[str, _checked(Range.parse)]
PathText = Annotated[str, _checked(paths.check_path)]
DigestText = Annotated[str, _checked(check_digest)]
EntryText = Annotated[str, _checked(Entry.parse)]
LicenseText = Annotated[str, StringConstraints(max_length=256), _checked(canonical_license)]
ShortText = Annotated[str, StringConstraints(max_length=256)]
LongText = Annotated[str, StringConstraints(max_length=4096)]
Url = Annotated[str, StringConstraints(max_length=2048, pattern=r"^(https?://[^\s]+)?$")]
Keyword = Annotated[str, StringConstraints(min_length=1, max_length=64)]
TensorName = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Dimension = Annotated[int, Field(strict=True, ge=-1, le=MAX_SAFE_INTEGER)]
ConcreteDimension = Annotated[int, Field(strict=True, ge=0, le=1 << 31)]
BatchAxis = Annotated[Literal[0, "none"] | None, BeforeValidator(_not_a_flag)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class FileEntry(_Part):
    """One file: its path in the package, its size in bytes, its digest."""

    path: PathText
    size: Annotated[int, Field(strict=True, ge=0, le=MAX_SAFE_INTEGER)]
    digest: DigestText


class TensorDeclaration(_Part):
    """What the author says of an input or output; the registry checks it against the graph."""

    name: TensorName
    datatype: Datatype | None = None
    shape: Annotated[tuple[Dimension, ...], Field(max_length=64)] | None = None
    """Sizes, -1 where free; None = not stated."""
    description: LongText = ""


class WarmupSample(_Part):
    """One call to make before the model is ready: a `.npz` file of the package, or zeros of the given shapes."""

    file: PathText | None = None
    """A `.npz` among the package's files whose arrays are named as the inputs."""
    shapes: dict[TensorName, Annotated[tuple[ConcreteDimension, ...], Field(max_length=64)]] | None = None
    """Input name -> shape; an input left out gets its declared shape with 1 for what is free."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.file is None) == (self.shapes is None):
            raise ValueError("a warmup sample has either `file` or `shapes`")
        return self


class Dataset(_Part):
    """Data that the model was trained on."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    url: Url = ""
    license: ShortText = ""
    description: LongText = ""


class Description(_Part):
    """What an author says of a version: the part that nnpm.toml and the manifest share."""

    name: PackageText
    version: VersionText
    license: LicenseText
    framework: ShortText = "onnx"
    runtime: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] = "onnx"
    """The entry point of `nnpm.runtimes` that executes it."""
    entry: EntryText | None = None
    """`module:Class` in the package; the runtime `python` needs it."""
    description: LongText = ""
    task: ShortText = ""
    card: PathText | None = None
    """The model card, a file of the package."""
    keywords: Annotated[tuple[Keyword, ...], Field(max_length=64)] = ()
    homepage: Url = ""
    batch_axis: BatchAxis = None
    """0: requests may be joined along axis 0; "none": never; None: probe at load time."""
    inputs: Annotated[tuple[TensorDeclaration, ...], Field(max_length=4096)] = ()
    outputs: Annotated[tuple[TensorDeclaration, ...], Field(max_length=4096)] = ()
    warmup: Annotated[tuple[WarmupSample, ...], Field(max_length=64)] = ()
    dependencies: Annotated[dict[PackageText, RangeText], Field(max_length=256)] = {}
    training_data: Annotated[tuple[Dataset, ...], Field(max_length=256)] = ()
    metrics: Annotated[dict[ShortText, Number], Field(max_length=256)] = {}

    @model_validator(mode="before")
    @classmethod
    def _python_is_no_graph(cls, value: Any) -> Any:
        """A class says `framework` only where it wraps one."""
        if isinstance(value, dict) and value.get("runtime") == PYTHON and "framework" not in value:
            return value | {"framework": PYTHON}
        return value


class Manifest(Description):
    """See the module. `canonical()` is its one text, `digest()` its name."""

    format: Literal[1] = 1
    model: PathText
    """The file that the runtime loads."""
    files: Annotated[tuple[FileEntry, ...], Field(max_length=MAX_FILES)]
    """Sorted by path."""

    @model_validator(mode="after")
    def _files_fit(self) -> Self:
        names = [entry.path for entry in self.files]
        if not names:
            raise ValueError("a package has one file at least")
        if names != sorted(names):
            raise ValueError("files are not sorted by path")
        if clash := paths.clash_among(names):
            raise ValueError(clash)
        if self.size > MAX_SAFE_INTEGER:
            raise ValueError("the files together are too large")
        wanted = [("model", self.model), ("card", self.card), *(("warmup", sample.file) for sample in self.warmup)]
        for role, path in wanted:
            if path is not None and path not in names:
                raise ValueError(f"{role} {path!r} is not among the files")
        return self

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files)

    @property
    def package(self) -> PackageName:
        """The parsed name."""
        return PackageName.parse(self.name)

    def file(self, path: str) -> FileEntry | None:
        """The entry of that path, or None."""
        return next((entry for entry in self.files if entry.path == path), None)

    def canonical(self) -> bytes:
        """The manifest in canonical JSON; always the same bytes for the same content."""
        stated = self.model_dump(mode="json", exclude_defaults=True)
        stated |= {key: getattr(self, key) for key in ("format", "framework", "runtime")}
        return rfc8785.dumps(stated)

    def digest(self) -> str:
        """`sha256:<hex>` of the canonical JSON: the version's digest."""
        return digest_of(self.canonical())

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Reads a manifest from JSON. Raises InvalidArgument INVALID_MANIFEST whose violations name the fields."""
        if len(content) > MAX_BYTES:
            raise _too_large(len(content))
        try:
            value = json.loads(content, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as fault:
            raise InvalidArgument("INVALID_MANIFEST", f"the manifest is no JSON: {fault}") from fault
        if not isinstance(value, dict):
            raise InvalidArgument("INVALID_MANIFEST", "the manifest is no JSON object")
        if isinstance(stated := value.get("format"), int) and stated > FORMAT:
            raise InvalidArgument(
                "INVALID_MANIFEST",
                f"the manifest has format {stated}, newer than the {FORMAT} that this nnpm reads",
                hint="upgrade nnpm",
            )
        return cls.build(value)

    @classmethod
    def build(cls, value: Mapping[str, Any]) -> Self:
        """A manifest from plain values. Raises InvalidArgument INVALID_MANIFEST whose violations name the fields."""
        try:
            manifest = cls.model_validate(dict(value))
            size = len(manifest.canonical())
        except ValidationError as fault:
            raise _refusal(violations_of(fault)) from fault
        except (rfc8785.CanonicalizationError, UnicodeEncodeError) as fault:
            raise InvalidArgument("INVALID_MANIFEST", f"the manifest has no canonical form: {fault}") from fault
        if size > MAX_BYTES:
            raise _too_large(size)
        return manifest


def violations_of(fault: ValidationError) -> list[FieldViolation]:
    """pydantic's findings as field violations, at most 20."""
    found = []
    for error in fault.errors(include_url=False, include_input=False)[:20]:
        path = ""
        for part in error["loc"]:
            path += f"[{part}]" if isinstance(part, int) else f".{part}"
        text = "unknown field" if error["type"] == "extra_forbidden" else error["msg"].removeprefix("Value error, ")
        found.append(FieldViolation(path.lstrip("."), text))
    return found


def _too_large(size: int) -> InvalidArgument:
    return InvalidArgument("INVALID_MANIFEST", f"the manifest has {size} bytes, at most {MAX_BYTES} are allowed")


def _refusal(violations: list[FieldViolation]) -> InvalidArgument:
    first = violations[0]
    where = f"{first.field}: " if first.field else ""
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return InvalidArgument(
        "INVALID_MANIFEST", f"the manifest is invalid: {where}{first.description}{more}", violations=violations
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")
