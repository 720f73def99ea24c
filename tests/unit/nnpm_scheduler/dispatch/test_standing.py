"""Class and tenant, as metadata tell them."""

import pytest

from nnpm.errors import InvalidArgument
from nnpm_scheduler.dispatch.call import metadata_keys
from nnpm_scheduler.dispatch.standing import LONGEST_TENANT, NOBODYS, Priority, Standing, Standings


@pytest.mark.parametrize(
    ("priority", "tenant", "wanted"),
    [
        ("", "", NOBODYS),
        ("high", "", Standing(Priority.HIGH)),
        ("normal", "acme", Standing(Priority.NORMAL, "acme")),
        ("low", "acme", Standing(Priority.LOW, "acme")),
    ],
)
def test_what_metadata_say(priority: str, tenant: str, wanted: Standing) -> None:
    standings = Standings()
    assert standings.of(("", "", priority, tenant)) == wanted
    assert standings.of(("t", "s", priority, tenant)) is standings.of(("", "", priority, tenant))


@pytest.mark.parametrize(
    ("priority", "tenant", "reason"),
    [("urgent", "", "INVALID_PRIORITY"), ("HIGH", "", "INVALID_PRIORITY"), ("", "t" * 129, "INVALID_TENANT")],
)
def test_what_they_may_not_say(priority: str, tenant: str, reason: str) -> None:
    assert len(tenant) in {0, LONGEST_TENANT + 1}
    with pytest.raises(InvalidArgument) as refused:
        Standings().of(("", "", priority, tenant))
    assert refused.value.reason == reason


def test_the_settings_name_the_keys() -> None:
    assert metadata_keys("x-class", "x-team") == ("traceparent", "tracestate", "x-class", "x-team")
