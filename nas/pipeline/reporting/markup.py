"""HTML and SVG as nested calls: what is not markup already is escaped, and every tag is closed."""

import html
from collections.abc import Iterable

Attribute = str | int | float | bool | None

_VOID = frozenset({"meta", "br", "img"})


class Html(str):
    """Text that is markup; plain strings are escaped wherever they become part of it."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Returns the text as markup."""
    return text if isinstance(text, Html) else Html(html.escape(text, quote=True))


def joined(parts: Iterable[str], separator: str = "") -> Html:
    """Returns the parts one after the other, those that are not markup escaped."""
    return Html(escaped(separator).join(escaped(part) for part in parts))


def tag(name: str, *children: str, **attributes: Attribute) -> Html:
    """Returns an element.

    Args:
        name: Such as ``"p"``.
        children: Markup, or text that is escaped.
        attributes: ``class_`` stands for class and ``stroke_width`` for stroke-width; None and
            False are left out, True has no value; numbers are rounded to hundredths.
    """
    written = "".join(f" {key.rstrip('_').replace('_', '-')}{_value(value)}"
                      for key, value in attributes.items()
                      if value is not None and value is not False)
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def _value(value: str | int | float | bool) -> str:
    if value is True:
        return ""
    text = f"{round(value, 2):g}" if isinstance(value, float) else str(value)
    return f'="{html.escape(text, quote=True)}"'
