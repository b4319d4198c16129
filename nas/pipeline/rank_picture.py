"""Scores against the truth as a picture, a panel a proxy."""

import io
import math
from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nas.core.types import FloatArray

_ACROSS = 4  # panels side by side at most


def draw_ranking(scores: Mapping[str, FloatArray], truth: FloatArray, titles: Mapping[str, str], *,
                 truth_label: str) -> bytes:
    """Returns a PNG: each proxy's ranks to the right, the truth upwards.

    Ranks, because scores span orders of magnitude; networks without a score are left out.

    Args:
        scores: Proxy → (N,), NaN where there is none.
        truth: (N,).
        titles: Proxy → what stands above its panel.
        truth_label: Of the vertical axis.
    """
    across = min(_ACROSS, len(scores))
    down = math.ceil(len(scores) / across)
    figure = Figure(figsize=(3.1 * across + 0.6, 2.9 * down + 0.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes in panels.flat[len(scores):]:
        axes.set_visible(False)
    for axes, (name, values) in zip(panels.flat, scores.items(), strict=False):
        there = ~np.isnan(values)
        axes.scatter(values[there].argsort().argsort(), truth[there], s=9, color="#2563eb",
                     alpha=0.6, linewidths=0)
        axes.set_title(titles[name], fontsize=9, loc="left")
        axes.set_xlabel("rank by score", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(color="#e5e7eb", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for row in panels:
        row[0].set_ylabel(truth_label, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
