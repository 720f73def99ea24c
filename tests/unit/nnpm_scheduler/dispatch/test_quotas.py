"""What a tenant or a deployment may take, as one scheduler counts it; time is the test's."""

import pytest

from nnpm.errors import Unavailable
from nnpm_scheduler.dispatch.quotas import ANY, MOST_ACCOUNTS, Account, Quota, Quotas, read_quotas


def test_quotas_are_read() -> None:
    wanted = {"gold": Quota(100, 50), "silver": Quota(10, 0), "a=b": Quota(0, 5), "*": Quota(0.5, 1)}
    assert read_quotas("gold=100/50, silver=10, a=b=/5, *=0.5/1,") == wanted


@pytest.mark.parametrize("text", ["gold", "gold=", "gold=/", "gold=0/0", "gold=-1", "gold=x", "gold=1/x", "gold=inf"])
def test_what_is_no_quota_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TENANT=RATE"):
        read_quotas(text)


def test_a_rate_lets_a_seconds_worth_in_at_once_and_then_as_much_as_flows_in() -> None:
    account = Account("tenant:a", Quota(rate=10), now=0.0)
    assert account.room(0.0) == 10
    account.take(10)
    assert [account.room(at) for at in (0.0, 0.05, 0.1, 0.5, 5.0)] == [0, 0, 1, 5, 10]


def test_so_many_at_a_time_are_counted_with_those_at_other_schedulers() -> None:
    account = Account("tenant:a", Quota(in_flight=5), now=0.0)
    account.take(2)
    account.told(2, 1.0, 2, 0.0)
    assert account.room(0.0) == 1
    account.told(0, 1.0, 9, 0.0)
    assert account.room(0.0) == 0


def test_what_is_used_while_redis_is_asked_is_told_next_time() -> None:
    account = Account("tenant:a", Quota(rate=10), now=0.0)
    account.take(3)
    asked = account.used
    account.take(2)
    account.told(asked, 4.0, 0, 0.0)
    assert (account.used, account.room(0.0)) == (2, 2)


def test_most_calls_have_no_account_and_a_tenant_without_a_quota_may_have_that_of_each_other() -> None:
    assert not Quotas().of("a", "d", ANY)
    named = Quotas({"a": Quota(1)})
    assert not named.of("b", "d", ANY)
    assert [account.name for account in named.of("a", "d", Quota(2))] == ["tenant:a", "deployment:d"]
    each = Quotas({"*": Quota(in_flight=1)})
    one, other = each.of("x", "d", ANY), each.of("y", "d", ANY)
    assert (each.grant(one, 2), each.grant(other, 1), each.grant(one, 1)) == (1, 1, 0)
    each.landed(one, 1)
    assert each.grant(one, 1) == 1


def test_the_tightest_quota_counts_and_is_named() -> None:
    quotas = Quotas({"a": Quota(rate=3)})
    accounts = quotas.of("a", "d", Quota(in_flight=2))
    assert quotas.grant(accounts, 9) == 2
    error = quotas.exceeded(accounts)
    assert (error.reason, error.metadata["kind"], error.metadata["name"]) == ("QUOTA_EXCEEDED", "deployment", "d")
    quotas.landed(accounts, 2)
    assert quotas.grant(accounts, 9) == 1
    error = quotas.exceeded(accounts)
    assert (error.metadata["kind"], 0 < (error.retry_after or 0) <= 1 / 3) == ("tenant", True)


def test_what_is_refused_for_another_reason_is_not_used() -> None:
    quotas = Quotas({"a": Quota(rate=3, in_flight=3)})
    accounts = quotas.of("a", "", ANY)
    assert quotas.grant(accounts, 3) == 3
    quotas.ungrant(accounts, 3)
    assert (quotas.grant(accounts, 3), accounts[0].used) == (3, 3)


@pytest.mark.parametrize("closed", [False, True])
def test_without_redis_quotas_fail_open_or_closed_and_only_for_who_has_one(closed: bool) -> None:
    quotas = Quotas({"a": Quota(rate=3)}, closed=closed, lost=True)
    assert not quotas.of("b", "d", ANY)
    if closed:
        with pytest.raises(Unavailable, match="nobody knows"):
            quotas.of("a", "d", ANY)
    else:
        assert quotas.grant(quotas.of("a", "d", ANY), 9) == 3


def test_accounts_at_rest_are_forgotten_when_there_are_many() -> None:
    quotas = Quotas({"*": Quota(rate=1)})
    held = quotas.of("held", "", ANY)
    quotas.grant(held, 1)
    for number in range(MOST_ACCOUNTS + 5):
        quotas.of(str(number), "", ANY)
    assert len(quotas.accounts) < MOST_ACCOUNTS
    assert quotas.of("held", "", ANY)[0] is held[0]
