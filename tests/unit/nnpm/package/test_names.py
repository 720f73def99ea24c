import pytest

from nnpm.errors import InvalidArgument
from nnpm.package.names import PackageName, check_namespace, check_slug, check_tag, deployment_slug, is_slug, is_tag


def test_a_name_is_a_namespace_and_a_segment() -> None:
    name = PackageName.parse("acme/vision/resnet-50")
    assert (name.namespace, name.name, str(name)) == ("acme/vision", "resnet-50", "acme/vision/resnet-50")


def test_a_bare_name_is_refused_with_one_that_would_do() -> None:
    with pytest.raises(InvalidArgument) as caught:
        PackageName.parse("tiny")
    assert caught.value.reason == "INVALID_PACKAGE_NAME"
    assert "acme/tiny" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "/", "acme/", "/tiny", "acme//tiny", "Acme/tiny", "acme/ti ny", "acme/-x", "acme/" + "a" * 64, "acme/tïny",
     "acme/ti_ny", "acme/tiny\n", "acme/../tiny", "/".join("abcdefghi")],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        PackageName.parse(text)
    assert caught.value.reason == "INVALID_PACKAGE_NAME"


def test_a_name_close_by_is_suggested() -> None:
    with pytest.raises(InvalidArgument) as caught:
        PackageName.parse("Acme/My_Model v2")
    assert "acme/my-model-v2" in caught.value.hint


@pytest.mark.parametrize("text", ["champion", "stable-2", "v1-final"])
def test_a_segment_can_be_a_tag(text: str) -> None:
    assert check_tag(text) == text


@pytest.mark.parametrize("text", ["1", "x", "1.0.0", "Champion", "", "a/b", "v1"])
def test_what_reads_as_version_or_range_cannot_be_a_tag(text: str) -> None:
    assert not is_tag(text)
    with pytest.raises(InvalidArgument) as caught:
        check_tag(text)
    assert caught.value.reason == "INVALID_TAG"


def test_a_deployment_is_named_after_its_package() -> None:
    assert deployment_slug(PackageName.parse("acme/vision/resnet")) == "acme-vision-resnet"
    with pytest.raises(InvalidArgument):
        check_slug("acme/tiny")


def test_long_packages_keep_names_of_their_own_within_a_dns_label() -> None:
    first, second = (deployment_slug(PackageName.parse(f"{'a' * 60}/{'b' * 60}{end}")) for end in "cd")
    assert first != second
    assert is_slug(first)
    assert is_slug(second)


def test_a_namespace_has_seven_segments_at_most() -> None:
    assert check_namespace("a/b/c/d/e/f/g") == "a/b/c/d/e/f/g"
    with pytest.raises(InvalidArgument):
        check_namespace("a/b/c/d/e/f/g/h")
