"""Options to measure a component with, besides its defaults."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel


def other_options(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Yields each field with each other word that it may be, or with another number."""
    for name, field in model.model_fields.items():
        default, types = field.default, (field.annotation, *get_args(field.annotation))
        words = [word for each in types if get_origin(each) is Literal for word in get_args(each)]
        if words:
            yield from ((name, word) for word in words if word != default)
        elif bool in types:
            yield name, not default
        elif int in types:
            yield name, default + 1
        elif float in types:
            yield name, 0.75 * (default or 1.0)
