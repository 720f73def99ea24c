"""Whose code an operator lets run on a worker: nobody's, unless it is named."""

from dataclasses import dataclass
from typing import Self

from nnpm.package.digest import check_digest
from nnpm.package.manifest import Manifest
from nnpm.package.names import PackageName, check_namespace

_EVERYTHING_IN = "/*"


@dataclass(frozen=True, slots=True)
class Grants:
    """Packages, namespaces with all that is in them, and single versions by their digests."""

    packages: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()
    digests: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `acme/tiny, acme/vision/*, sha256:...`; the empty text grants nothing.

        Raises:
            InvalidArgument: INVALID_PACKAGE_NAME, INVALID_NAMESPACE, INVALID_DIGEST.
        """
        named = [part.strip() for part in text.split(",") if part.strip()]
        digests = [part for part in named if ":" in part]
        namespaces = [part for part in named if part.endswith(_EVERYTHING_IN)]
        packages = [part for part in named if part not in (*digests, *namespaces)]
        return cls(
            packages=frozenset(str(PackageName.parse(part)) for part in packages),
            namespaces=frozenset(check_namespace(part.removesuffix(_EVERYTHING_IN)) for part in namespaces),
            digests=frozenset(map(check_digest, digests)),
        )

    def allow(self, manifest: Manifest) -> bool:
        """Whether the code of that version may run."""
        segments = manifest.package.namespace.split("/")
        outer = {"/".join(segments[:count]) for count in range(1, len(segments) + 1)}
        return manifest.name in self.packages or bool(outer & self.namespaces) or manifest.digest() in self.digests


NOBODY = Grants()
"""What is granted where nothing is said."""
