"""A trace as a tree with timings, for a terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.tree import Tree

from nnpm.mesh.trace_ring import Span

SHOWN = ("model", "version", "revision", "rows", "batch", "queue", "worker", "runtime", "provider", "attempt")
"""Attributes worth a place in the line: those whose name's last part (`nnpm.batch.rows` -> `rows`) is one of these."""


@dataclass(frozen=True, slots=True)
class TraceNode:
    """A span and what it caused. `linked`: it is of another trace and links to its parent here, as a batch does."""

    span: Span
    children: tuple["TraceNode", ...]
    linked: bool = False


def arrange(spans: Iterable[Span]) -> tuple[TraceNode, ...]:
    """The roots of the forest that the spans make, children by their start.

    A span whose parent is missing hangs below the span that it links to, if that one is here; else it is a root.
    """
    by_id = {span.span_id: span for span in spans}
    below: dict[str, list[tuple[Span, bool]]] = {}
    roots: list[Span] = []
    for span in by_id.values():
        link = next((link.span_id for link in span.links if link.span_id in by_id), "")
        if span.parent_span_id in by_id:
            below.setdefault(span.parent_span_id, []).append((span, False))
        elif link and link != span.span_id:
            below.setdefault(link, []).append((span, True))
        else:
            roots.append(span)

    def node(span: Span, linked: bool, above: frozenset[str]) -> TraceNode:
        path = above | {span.span_id}
        children = sorted(below.get(span.span_id, []), key=lambda child: child[0].start_ns)
        return TraceNode(span, tuple(node(*child, path) for child in children if child[0].span_id not in path), linked)

    return tuple(node(root, False, frozenset()) for root in sorted(roots, key=lambda span: span.start_ns))


def render_tree(spans: Sequence[Span]) -> Tree:
    """The tree for `rich.print`: each span's name, service, length, and how long after the trace's start it began."""
    roots = arrange(spans)
    start = min((root.span.start_ns for root in roots), default=0)
    trace_id = roots[0].span.trace_id if roots else ""
    tree = Tree(f"[bold]trace[/] {trace_id}")
    for root in roots:
        _add(tree, root, start)
    return tree


def _add(tree: Tree, node: TraceNode, start: int) -> None:
    branch = tree.add(_label(node, start))
    for child in node.children:
        _add(branch, child, start)


def _label(node: TraceNode, start: int) -> str:
    span = node.span
    details = [
        f"{name.rpartition('.')[2]}={value}"
        for name, value in span.attributes.items()
        if name.rpartition(".")[2] in SHOWN and value
    ]
    parts = [
        f"[bold]{escape(span.name)}[/]",
        "[magenta](linked)[/]" if node.linked else "",
        f"[cyan]{escape(span.service)}[/]",
        f"[green]{_milliseconds(span.duration_ns)}[/]",
        f"[dim]at {_milliseconds(span.start_ns - start)}[/]",
        f"[dim]{escape(' '.join(details))}[/]" if details else "",
        f"[red]{escape(span.error)}[/]" if span.error else "",
    ]
    return " ".join(part for part in parts if part)


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.2f} ms"
