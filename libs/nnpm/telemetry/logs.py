"""Structured logs: JSON lines, or pretty ones on a terminal, each with its trace id where there is one."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from opentelemetry import trace

from nnpm.settings import ServiceSettings

# What these say at INFO is no news: nodesemver writes a traceback for each text that is no range.
_CHATTY = ("alembic", "nodesemver")

Event = MutableMapping[str, Any]
Logger = structlog.stdlib.BoundLogger


def configure(settings: ServiceSettings, service: str) -> None:
    """Send every log line of this process, other libraries' included, to stderr in one form."""
    console = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    shared = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _service_adder(service),
        _add_trace,
    ]
    renderers: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if console:
        renderers = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=settings.log_level.upper(), force=True)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(settings.log_level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def get_logger(name: str) -> Logger:
    """A logger; `name` says which part of the service speaks."""
    logger: Logger = structlog.stdlib.get_logger(name)
    return logger


def _service_adder(service: str) -> Any:
    def add(_logger: object, _method: str, event: Event) -> Event:
        event["service"] = service
        return event

    return add


def _add_trace(_logger: object, _method: str, event: Event) -> Event:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
