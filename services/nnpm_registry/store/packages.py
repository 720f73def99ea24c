"""Packages: what a reader sees of one, and finding them."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, insert, or_, select, update

from nnpm.errors import NotFound
from nnpm.package.manifest import Manifest
from nnpm.package.references import LATEST
from nnpm_registry.records import Package
from nnpm_registry.store import rows
from nnpm_registry.store.schema import packages, tags
from nnpm_registry.store.tags import check_etag

_SUGGESTIONS = 3


def find(connection: Connection, name: str) -> Package:
    """A package. Raises NotFound PACKAGE_NOT_FOUND, with names that are close."""
    row = connection.execute(_packages().where(packages.c.name == name)).one_or_none()
    if row is not None:
        return rows.package(row)
    close = _similar(connection, name)
    hint = f"did you mean {' or '.join(close)}?" if close else "nnpm search finds packages"
    raise NotFound("PACKAGE_NOT_FOUND", f"there is no package {name}", hint=hint, metadata={"package": name})


def page(connection: Connection, namespace: str, after: str, limit: int) -> Sequence[Package]:
    """Packages by name, behind `after`: of a namespace and those inside it, or of all."""
    query = _packages().where(packages.c.name > after)
    if namespace:
        query = query.where(packages.c.name.like(_escaped(f"{namespace}/") + "%", escape="\\"))
    return [rows.package(row) for row in connection.execute(query.order_by(packages.c.name).limit(limit))]


def search(
    connection: Connection, words: Sequence[str], after: tuple[int, str], limit: int
) -> Sequence[tuple[int, Package]]:
    """Packages that hold every word, with their rank: 0 where the name begins with the first word, else 1.

    Sorted by rank, then name; those behind `after`.
    """
    rank = case((_begins_with(words[0]), 0), else_=1) if words else case((packages.c.name != "", 0), else_=1)
    holds = [packages.c.search_text.like(f"%{_escaped(word)}%", escape="\\") for word in words]
    query = (
        _packages()
        .add_columns(rank.label("rank"))
        .where(*holds, or_(rank > after[0], and_(rank == after[0], packages.c.name > after[1])))
        .order_by(rank, packages.c.name)
        .limit(limit)
    )
    return [(row.rank, rows.package(row)) for row in connection.execute(query)]


def change(connection: Connection, name: str, fields: Mapping[str, str | tuple[str, ...]], etag: str) -> Package:
    """Sets `description`, `keywords` or `homepage`; later versions leave alone what was set so."""
    package = find(connection, name)
    check_etag(etag, package.etag, name)
    edited = set(rows.words(connection.execute(select(packages.c.edited).where(packages.c.name == name)).scalar_one()))
    described: dict[str, str | tuple[str, ...]] = {
        "description": package.description,
        "keywords": package.keywords,
        "homepage": package.homepage,
    }
    _write(connection, name, described | dict(fields), edited | set(fields))
    return find(connection, name)


def describe(connection: Connection, manifest: Manifest) -> None:
    """Makes the package of a version being published, or lets it say what its newest version says."""
    name = manifest.name
    row = connection.execute(select(packages).where(packages.c.name == name)).one_or_none()
    described: dict[str, str | tuple[str, ...]] = {
        "description": manifest.description,
        "keywords": manifest.keywords,
        "homepage": manifest.homepage,
    }
    edited: set[str] = set()
    if row is None:
        time = rows.now()
        connection.execute(
            insert(packages).values(
                name=name, description="", keywords="[]", homepage="", edited="[]", search_text="",
                create_time=time, update_time=time, etag=rows.new_token(),
            )
        )  # fmt: skip
    else:
        edited = set(rows.words(row.edited))
        kept = {"description": row.description, "keywords": rows.words(row.keywords), "homepage": row.homepage}
        described |= {field: kept[field] for field in edited}
    _write(connection, name, described, edited)


def _write(connection: Connection, name: str, described: Mapping[str, str | tuple[str, ...]], edited: set[str]) -> None:
    keywords = tuple(described["keywords"])
    connection.execute(
        update(packages)
        .where(packages.c.name == name)
        .values(
            description=described["description"],
            keywords=rows.words_text(keywords),
            homepage=described["homepage"],
            edited=rows.words_text(sorted(edited)),
            search_text="\n".join((name, str(described["description"]), *keywords)).lower(),
            update_time=rows.now(),
            etag=rows.new_token(),
        )
    )


def _packages() -> Select[Any]:
    named = and_(tags.c.package == packages.c.name, tags.c.tag == LATEST)
    return select(packages, tags.c.version.label("latest")).select_from(packages.outerjoin(tags, named))


def _begins_with(word: str) -> ColumnElement[bool]:
    """Whether the name, or its last segment, begins with the word."""
    escaped = _escaped(word)
    return or_(packages.c.name.like(f"{escaped}%", escape="\\"), packages.c.name.like(f"%/{escaped}%", escape="\\"))


def _similar(connection: Connection, name: str) -> list[str]:
    """Names that end as this one does, or begin so."""
    last = name.rpartition("/")[2]
    alike = or_(
        packages.c.name.like(f"%/{_escaped(last)}", escape="\\"),
        packages.c.name.like(f"{_escaped(name)}%", escape="\\"),
    )
    query = select(packages.c.name).where(alike).order_by(packages.c.name).limit(_SUGGESTIONS)
    return [str(found) for found in connection.execute(query).scalars()]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
