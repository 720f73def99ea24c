"""From errors to what the user sees: one clear line, a hint, and an exit code."""

import errno
import json
import sys

from nnpm import errors
from nnpm.cli.output import harmless
from nnpm.errors import NnpmError

FAILED, USAGE, NOT_FOUND, REFUSED, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 4, 5, 130

_BY_CLASS: dict[type[NnpmError], int] = {
    errors.NotFound: NOT_FOUND,
    errors.InvalidArgument: REFUSED,
    errors.AlreadyExists: REFUSED,
    errors.FailedPrecondition: REFUSED,
    errors.PermissionDenied: REFUSED,
    errors.Unauthenticated: REFUSED,
    errors.OutOfRange: REFUSED,
    errors.ResourceExhausted: REFUSED,
    errors.Unavailable: UNAVAILABLE,
    errors.DeadlineExceeded: UNAVAILABLE,
}


def exit_code(fault: NnpmError) -> int:
    """0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 unavailable."""
    if fault.reason == "DISK_FULL":
        return FAILED
    if isinstance(fault, errors.ResourceExhausted) and fault.retry_after is not None:
        return UNAVAILABLE
    return _BY_CLASS.get(type(fault), FAILED)


def report(fault: NnpmError, *, as_json: bool) -> int:
    """Tells an error on stderr; returns the exit code."""
    if as_json:
        told: dict[str, object] = {"code": fault.code, "reason": fault.reason, "message": fault.message}
        if fault.hint:
            told["hint"] = fault.hint
        if fault.metadata:
            told["metadata"] = fault.metadata
        if fault.violations:
            told["violations"] = [{"field": one.field, "description": one.description} for one in fault.violations]
        if fault.retry_after is not None:
            told["retry_after_seconds"] = fault.retry_after
        _write(json.dumps({"error": told}, ensure_ascii=False))
    else:
        _lines(fault.message, fault.hint)
    return exit_code(fault)


def report_usage(message: str, hint: str, *, as_json: bool) -> int:
    """Tells a wrong command line on stderr; returns the exit code."""
    if as_json:
        told = {"code": "INVALID_ARGUMENT", "reason": "WRONG_USAGE", "message": message, "hint": hint}
        _write(json.dumps({"error": told}, ensure_ascii=False))
    else:
        _lines(message, hint)
    return USAGE


def report_system(fault: OSError, *, as_json: bool) -> int:
    """Tells what the operating system refused: a file that can't be read or written, a full disk."""
    place = f"{fault.filename}: " if fault.filename else ""
    hint = "free some space and run the same again" if fault.errno == errno.ENOSPC else ""
    message = f"{place}{fault.strerror or fault}"
    if as_json:
        _write(json.dumps({"error": {"code": "INTERNAL", "reason": "SYSTEM_ERROR", "message": message, "hint": hint}}))
    else:
        _lines(message, hint)
    return FAILED


def _lines(message: str, hint: str) -> None:
    colour = sys.stderr.isatty()
    _write(("\x1b[1;31merror:\x1b[0m " if colour else "error: ") + harmless(" ".join(message.split())))
    if hint:
        _write(("\x1b[1;36mhint:\x1b[0m " if colour else "hint: ") + harmless(" ".join(hint.split())))


def _write(line: str) -> None:
    sys.stderr.write(line.encode("utf-8", "backslashreplace").decode() + "\n")
