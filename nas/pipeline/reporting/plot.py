"""Axes for small SVG charts whose colours come from the page's style sheet.

Lengths are in units of the viewBox. A chart is as wide as its place; its height follows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nas.pipeline.reporting.markup import Html, joined, tag

LEFT, RIGHT, TOP, BOTTOM = 64.0, 14.0, 14.0, 46.0


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from values low … high to positions start … end."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, count: int) -> list[float]:
        """Returns about `count` round values within the range."""
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(k * step, 12) for k in range(first, last + 1)]


def padded(values: Sequence[float], *, share: float = 0.06) -> tuple[float, float]:
    """Returns the range of the values with a margin of this share on both sides."""
    low, high = min(values), max(values)
    margin = share * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin


@dataclass(frozen=True, slots=True)
class Chart:
    """A frame with its two scales."""

    width: float
    height: float
    x: Scale
    y: Scale

    @staticmethod
    def over(x_range: tuple[float, float], y_range: tuple[float, float], *, width: float,
             height: float) -> "Chart":
        """Returns the chart that shows these ranges."""
        return Chart(width, height, Scale(*x_range, LEFT, width - RIGHT),
                     Scale(*y_range, height - BOTTOM, TOP))

    def axes(self, x_label: str, y_label: str) -> Html:
        """Returns grid lines, numbers and labels."""
        bottom, right = self.y.start, self.x.end
        parts = []
        for value in self.x.ticks(max(3, round(self.width / 110))):
            at = self.x(value)
            parts += [tag("line", x1=at, x2=at, y1=self.y.end, y2=bottom, class_="grid"),
                      tag("text", f"{value:g}", x=at, y=bottom + 18, class_="tick mid")]
        for value in self.y.ticks(5):
            at = self.y(value)
            parts += [tag("line", x1=self.x.start, x2=right, y1=at, y2=at, class_="grid"),
                      tag("text", f"{value:g}", x=self.x.start - 8, y=at + 4, class_="tick end")]
        middle = (self.y.start + self.y.end) / 2
        parts += [tag("text", x_label, x=right, y=self.height - 8, class_="label end"),
                  tag("text", y_label, x=14.0, y=middle, class_="label mid",
                      transform=f"rotate(-90 14 {middle:g})")]
        return joined(parts)

    def svg(self, *children: str, label: str, class_: str = "") -> Html:
        """Returns the picture; `label` is what a screen reader says of it."""
        return tag("svg", *children, viewBox=f"0 0 {self.width:g} {self.height:g}", role="group",
                   aria_label=label, class_=f"chart {class_}".strip())

    def path(self, points: Sequence[tuple[float, float]], class_: str, *,
             closed: bool = False) -> Html:
        """Returns a line through values (x, y)."""
        steps = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        return tag("path", d=f"M{steps}{'Z' if closed else ''}", class_=class_)

    def dot(self, x: float, y: float, class_: str, title: str, *, radius: float = 4) -> Html:
        """Returns a point whose title is shown when it is pointed at."""
        return tag("circle", tag("title", title), cx=self.x(x), cy=self.y(y), r=radius,
                   class_=class_)
