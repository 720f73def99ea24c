import json

import pytest

from nnpm import errors
from nnpm.cli import failures
from nnpm.errors import FieldViolation, NnpmError


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.NotFound, 3),
        (errors.InvalidArgument, 4),
        (errors.AlreadyExists, 4),
        (errors.FailedPrecondition, 4),
        (errors.PermissionDenied, 4),
        (errors.Unauthenticated, 4),
        (errors.Unavailable, 5),
        (errors.DeadlineExceeded, 5),
        (errors.Internal, 1),
        (errors.DataLoss, 1),
        (errors.Aborted, 1),
    ],
)
def test_exit_codes_are_those_of_the_contract(kind: type[NnpmError], code: int) -> None:
    assert failures.exit_code(kind("INTERNAL_ERROR", "message")) == code


def test_used_up_resources_depend_on_what_helps() -> None:
    assert failures.exit_code(errors.ResourceExhausted("MESSAGE_TOO_LARGE", "too large")) == 4
    assert failures.exit_code(errors.ResourceExhausted("DISK_FULL", "full")) == 1
    assert failures.exit_code(errors.ResourceExhausted("OVERLOADED", "busy", retry_after=1.0)) == 5


def test_people_get_a_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    failures.report(errors.NotFound("FILE_NOT_FOUND", "no such\nfile", hint="look\nelsewhere"), as_json=False)
    assert capsys.readouterr().err == "error: no such file\nhint: look elsewhere\n"


def test_programs_get_everything(capsys: pytest.CaptureFixture[str]) -> None:
    fault = errors.InvalidArgument(
        "INVALID_CONFIG",
        "wrong",
        hint="do",
        metadata={"a": "b"},
        violations=[FieldViolation("x", "bad")],
        retry_after=2.0,
    )
    assert failures.report(fault, as_json=True) == 4
    assert json.loads(capsys.readouterr().err) == {
        "error": {
            "code": "INVALID_ARGUMENT",
            "reason": "INVALID_CONFIG",
            "message": "wrong",
            "hint": "do",
            "metadata": {"a": "b"},
            "violations": [{"field": "x", "description": "bad"}],
            "retry_after_seconds": 2.0,
        }
    }
