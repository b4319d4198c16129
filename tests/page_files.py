"""The files of the service's page, and the colours in them."""

import re
from pathlib import Path

import nas.service.settings

PAGE = Path(nas.service.settings.__file__).parent / "page"

_BLOCK = re.compile(r":root[^{]*\{([^}]*)\}")
_COLOUR = re.compile(r"--([a-z-]+):\s*(#[0-9a-f]{6})")


def text(name: str) -> str:
    return (PAGE / name).read_text()


def scripts() -> list[Path]:
    return sorted(PAGE.glob("*.js"))


def imports(name: str) -> set[str]:
    """Returns what a module imports, as it is written."""
    return set(re.findall(r'^(?:import|export)\b[^;]*?from "([^"]+)";', text(name), re.MULTILINE))


def palettes() -> list[dict[str, str]]:
    """Returns the colours of each block of the style sheet: light, dark, dark by choice."""
    return [dict(_COLOUR.findall(block)) for block in _BLOCK.findall(text("base.css"))]


def contrast(one: str, other: str) -> float:
    """Returns the contrast of two colours as WCAG 2.2 defines it, 1 … 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
              for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
