"""Hypervolume curves of several searchers as a picture."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nas.pipeline.compare_figures import Curves

_COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
_DASHES = ("-", "--", ":", "-.")  # for those who cannot tell the colours apart


def draw_comparison(found: Curves, *, title: str) -> bytes:
    """Returns a PNG: the median of each searcher's runs, its quartiles shaded."""
    figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    ordered = sorted(found.volumes.items(), key=lambda item: -float(np.median(item[1][:, -1])))
    for index, (name, volumes) in enumerate(ordered):
        steps = np.arange(1, volumes.shape[1] + 1)
        low, middle, high = 100 * np.quantile(volumes, (0.25, 0.5, 0.75), axis=0)
        colour = _COLOURS[index % len(_COLOURS)]
        axes.step(steps, middle, where="post", color=colour, linewidth=1.8,
                  linestyle=_DASHES[index % len(_DASHES)], label=name)
        axes.fill_between(steps, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    seeds = len(ordered[0][1])
    spread = ", quartiles shaded" if seeds > 1 else ""
    axes.set_xlabel("validations")
    axes.set_ylabel("hypervolume [% of the box]")
    axes.set_title(f"{title}: median of {seeds} seed{'s' * (seeds > 1)}{spread}", fontsize=10,
                   loc="left")
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
