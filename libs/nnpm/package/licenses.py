"""SPDX licence expressions (https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/)."""

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from nnpm.errors import InvalidArgument


def canonical_license(text: str) -> str:
    """The expression as SPDX spells it (`apache-2.0` -> `Apache-2.0`). Raises InvalidArgument INVALID_LICENSE."""
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression as fault:
        raise InvalidArgument(
            "INVALID_LICENSE",
            f"{text[:200]!r} is no SPDX licence expression",
            hint="for example Apache-2.0, MIT OR Apache-2.0, or LicenseRef-Proprietary for one of your own",
        ) from fault
