"""From a range, a tag or an exact version to the one version that is meant, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from nnpm.errors import FailedPrecondition, NnpmError, NotFound
from nnpm.package.references import LATEST, Selector, SelectorKind
from nnpm.package.versions import Version
from nnpm_registry.records import Listed

_NAMED = 10


@dataclass(frozen=True, slots=True)
class Choice:
    """A version and one sentence that says why it."""

    version: str
    explanation: str


def choose(package: str, selector: Selector, published: Sequence[Listed], tagged: str | None) -> Choice:
    """The version that a selector means.

    A yanked version is chosen by nothing; who has it in a lock file asks for it by its number and gets it without this.

    Args:
        published: all published versions, highest first.
        tagged: what the selector's tag names, when it is a tag that exists.

    Raises:
        NotFound: VERSION_NOT_FOUND, NO_MATCHING_VERSION, TAG_NOT_FOUND; each lists what there is.
        FailedPrecondition: VERSION_YANKED.
    """
    if selector.kind is SelectorKind.EXACT:
        return _exact(package, selector.text, published, "it was named exactly")
    if selector.kind is SelectorKind.RANGE:
        return _in_range(package, selector, published)
    if tagged is None:
        raise _no_tag(package, selector.text, published)
    return _exact(package, tagged, published, f"the tag {selector.text} names it")


def _exact(package: str, version: str, published: Sequence[Listed], why: str) -> Choice:
    found = next((entry for entry in published if entry.version == version), None)
    if found is None:
        raise NotFound(
            "VERSION_NOT_FOUND",
            f"{package} has no version {version}",
            hint=_there_is(published),
            metadata={"package": package, "version": version},
        )
    if found.yanked:
        raise FailedPrecondition(
            "VERSION_YANKED",
            f"{package} {version} was yanked",
            hint=f"choose another ({_there_is(published)}); a lock file that holds it still installs it",
            metadata={"package": package, "version": version},
        )
    return Choice(version, f"{version}, because {why}")


def _in_range(package: str, selector: Selector, published: Sequence[Listed]) -> Choice:
    wanted = selector.range
    if wanted is None:
        raise AssertionError("a selector of kind RANGE has a range")
    higher_yanked = 0
    for entry in published:
        if not wanted.admits(Version.parse(entry.version)):
            continue
        if not entry.yanked:
            skipped = f"; {higher_yanked} higher yanked" if higher_yanked else ""
            reason = f"it is the highest of {len(published)} published versions in {selector.text}{skipped}"
            return Choice(entry.version, f"{entry.version}, because {reason}")
        higher_yanked += 1
    yanked = f" that is not yanked ({higher_yanked} are)" if higher_yanked else ""
    raise NotFound(
        "NO_MATCHING_VERSION",
        f"{package} has no version in {selector.text}{yanked}",
        hint=_there_is(published),
        metadata={"package": package, "range": selector.text},
    )


def _no_tag(package: str, tag: str, published: Sequence[Listed]) -> NnpmError:
    if tag == LATEST and published:
        return NotFound(
            "NO_MATCHING_VERSION",
            f"{package} has no release: all its versions are pre-releases or yanked",
            hint=f"name a version exactly; {_there_is(published)}",
            metadata={"package": package, "range": tag},
        )
    return NotFound(
        "TAG_NOT_FOUND",
        f"{package} has no tag {tag!r}",
        hint=_there_is(published),
        metadata={"package": package, "tag": tag},
    )


def _there_is(published: Sequence[Listed]) -> str:
    names = [entry.version for entry in published if not entry.yanked]
    if not names:
        return "published is nothing but yanked versions" if published else "nothing is published"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"published are {', '.join(names[:_NAMED])}{more}"
