"""A report as JSON, from the inspecting process to the registry, which takes nothing from there on trust."""

from typing import Any

from pydantic import TypeAdapter, ValidationError

from nnpm.errors import Internal
from nnpm_registry.records import Report

_REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def to_json(report: Report) -> Any:
    """Plain values."""
    return _REPORT.dump_python(report, mode="json")


def from_json(value: Any) -> Report:
    """The report. Raises Internal INTERNAL_ERROR when it is none."""
    try:
        return _REPORT.validate_python(value, strict=False)
    except ValidationError as error:
        raise Internal("INTERNAL_ERROR", "the inspection answered what is no report") from error
