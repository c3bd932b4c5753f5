"""Pages from Jinja2 templates: every text is escaped, and nothing but the scripts of a page runs."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bench.escape import terminal

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(
    package: str,
    filters: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
    escaped: Callable[[str], str] | None = None,
) -> Environment:
    """Returns the environment of the templates in a package: every text is printable and escaped.

    Args:
        package: the package.
        filters: of the templates; what they return as ``Markup`` stays as it is.
        escaped: escapes a text; None for HTML.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader(package, ""),
        autoescape=escaped is None,  # noqa: S701  # `finalize` escapes for other formats
        undefined=StrictUndefined,
        finalize=lambda value: (escaped or terminal)(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= filters
    return made


def content_policy(scripts: Sequence[str]) -> str:
    """Returns the content security policy: these scripts, each on lines of its own, and nothing else; no network."""
    digests = (base64.b64encode(hashlib.sha256(f"\n{text}\n".encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:"
