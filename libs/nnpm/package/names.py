"""Names of packages, namespaces, tags and deployments."""

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from nnpm.errors import InvalidArgument
from nnpm.package import ranges, versions

_SEGMENT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_SEGMENT_RULE = "1 to 63 of a-z, 0-9 and -, beginning with a letter or digit"
MAX_SEGMENTS = 8
_SLUG_LENGTH = 63  # a DNS label


@dataclass(frozen=True, slots=True, order=True)
class PackageName:
    """`namespace/name`; the namespace may nest (`acme/vision/resnet` is `resnet` in `acme/vision`)."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises InvalidArgument INVALID_PACKAGE_NAME, saying which part is wrong and what would be right."""
        segments = text.split("/")
        if len(segments) == 1 and _SEGMENT.fullmatch(text):
            raise InvalidArgument(
                "INVALID_PACKAGE_NAME",
                f"package name {text!r} has no namespace",
                hint=f"put one in front, for example acme/{text}",
                metadata={"package": text},
            )
        if len(segments) > MAX_SEGMENTS:
            raise _invalid_name(text, f"it has {len(segments)} segments, at most {MAX_SEGMENTS} are allowed")
        for segment in segments:
            if not _SEGMENT.fullmatch(segment):
                raise _invalid_name(text, f"segment {segment[:80]!r} is not {_SEGMENT_RULE}", suggestion=_suggest(text))
        return cls("/".join(segments[:-1]), segments[-1])

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def check_namespace(text: str) -> str:
    """Returns `text` when it names a namespace (1 to 7 segments), else raises InvalidArgument INVALID_NAMESPACE."""
    segments = text.split("/")
    if len(segments) >= MAX_SEGMENTS or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise InvalidArgument(
            "INVALID_NAMESPACE",
            f"{text[:200]!r} is no namespace: it takes 1 to {MAX_SEGMENTS - 1} segments, each {_SEGMENT_RULE}",
            metadata={"namespace": text[:200]},
        )
    return text


def is_tag(text: str) -> bool:
    """Whether `text` can name a tag: a segment that is neither a version nor a range (`1`, `x`)."""
    return bool(_SEGMENT.fullmatch(text)) and not versions.is_version(text) and not ranges.is_range(text)


def check_tag(text: str) -> str:
    """Returns `text` when it can name a tag, else raises InvalidArgument INVALID_TAG."""
    if is_tag(text):
        return text
    if not _SEGMENT.fullmatch(text):
        why = f"a tag is {_SEGMENT_RULE}"
    else:
        why = "it reads as a version or a range, so that nobody could ask for the tag"
    raise InvalidArgument("INVALID_TAG", f"{text[:200]!r} cannot be a tag: {why}", hint="for example: champion")


def is_slug(text: str) -> bool:
    """Whether `text` can name a deployment."""
    return bool(_SEGMENT.fullmatch(text))


def check_slug(text: str) -> str:
    """Returns `text` when it can name a deployment, else raises InvalidArgument INVALID_DEPLOYMENT_NAME."""
    if not is_slug(text):
        raise InvalidArgument(
            "INVALID_DEPLOYMENT_NAME",
            f"{text[:200]!r} cannot name a deployment: it takes {_SEGMENT_RULE}",
            hint="for example: acme-tiny",
        )
    return text


def deployment_slug(package: PackageName) -> str:
    """The deployment name that a package gets by default: `acme-tiny` for `acme/tiny`.

    A name longer than a DNS label is cut and ends in a hash of the whole, so that two long packages stay apart.
    """
    slug = str(package).replace("/", "-")
    if len(slug) <= _SLUG_LENGTH:
        return slug
    mark = hashlib.sha256(slug.encode()).hexdigest()[:8]
    return f"{slug[: _SLUG_LENGTH - len(mark) - 1].rstrip('-')}-{mark}"


def _suggest(text: str) -> str:
    """A valid name close to `text`, or nothing."""
    segments = [re.sub(r"[^a-z0-9]+", "-", segment.lower()).strip("-")[:63] for segment in text.split("/")]
    segments = [segment for segment in segments if segment]
    return "/".join(segments) if 1 < len(segments) <= MAX_SEGMENTS else ""


def _invalid_name(text: str, why: str, *, suggestion: str = "") -> InvalidArgument:
    return InvalidArgument(
        "INVALID_PACKAGE_NAME",
        f"{text[:200]!r} is no package name: {why}",
        hint=f"for example {suggestion or 'acme/tiny'}",
        metadata={"package": text[:200]},
    )
