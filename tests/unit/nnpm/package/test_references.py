import pytest

from nnpm.errors import InvalidArgument
from nnpm.package.references import PackageReference, Selector, SelectorKind


@pytest.mark.parametrize(
    ("text", "kind", "selector"),
    [
        ("acme/tiny", SelectorKind.TAG, "latest"),
        ("acme/tiny@", SelectorKind.TAG, "latest"),
        ("acme/tiny@1.2.3", SelectorKind.EXACT, "1.2.3"),
        ("acme/tiny@1.2.3-rc.1+b", SelectorKind.EXACT, "1.2.3-rc.1+b"),
        ("acme/tiny@^1.2", SelectorKind.RANGE, "^1.2"),
        ("acme/tiny@>= 1 <2", SelectorKind.RANGE, ">= 1 <2"),
        ("acme/tiny@~> 1.2.3", SelectorKind.RANGE, "~> 1.2.3"),
        ("acme/tiny@1", SelectorKind.RANGE, "1"),
        ("acme/tiny@x", SelectorKind.RANGE, "x"),
        ("acme/tiny@champion", SelectorKind.TAG, "champion"),
    ],
)
def test_what_stands_behind_the_at_sign(text: str, kind: SelectorKind, selector: str) -> None:
    reference = PackageReference.parse(text)
    assert str(reference.package) == "acme/tiny"
    assert (reference.selector.kind, reference.selector.text) == (kind, selector)


@pytest.mark.parametrize("text", ["acme/tiny@Champion!", "acme/tiny@1.2.3.4", "acme/tiny@^one", "acme/tiny@a@b"])
def test_neither_version_range_nor_tag_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        PackageReference.parse(text)
    assert caught.value.reason == "INVALID_SELECTOR"
    assert "^1.2" in caught.value.hint


def test_a_selector_gives_what_it_is() -> None:
    exact, wide = Selector.parse("1.2.3"), Selector.parse("^1")
    assert (str(exact.version), exact.range) == ("1.2.3", None)
    assert (wide.version, str(wide.range)) == (None, "^1")
