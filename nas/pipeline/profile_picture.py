"""Predicted against measured latency as a picture."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hardware_profiles.check import ProfileCheck

BAND = 0.10  # drawn around the line of equality


def draw_check(check: ProfileCheck) -> bytes:
    """Returns a PNG: each fresh network with its interval, the line of equality, a ±10 % band.

    Interval bars run along the axis of predictions; a network outside its interval is red.
    """
    value, measured = check.estimate.value, check.measured_ms
    inside = (check.estimate.lower <= measured) & (measured <= check.estimate.upper)
    ends = np.array([min(value.min(), measured.min()), max(value.max(), measured.max())])
    ends = ends + np.array([-0.06, 0.06]) * max(float(np.ptp(ends)), 0.1 * ends[1])

    figure = Figure(figsize=(6.4, 5.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.fill_between(ends, ends * (1 - BAND), ends * (1 + BAND), color="#eef2f7", linewidth=0,
                      label=f"±{BAND:.0%}")
    axes.plot(ends, ends, color="#64748b", linewidth=1, label="measured = predicted")
    for chosen, colour, label in ((inside, "#2563eb", "within the stated interval"),
                                  (~inside, "#dc2626", "outside")):
        if chosen.any():
            around = np.stack([value - check.estimate.lower, check.estimate.upper - value])
            axes.errorbar(value[chosen], measured[chosen], xerr=around[:, chosen], fmt="o",
                          color=colour, ecolor=colour + "55", markersize=4.5, elinewidth=1,
                          label=f"{label} ({int(chosen.sum())})")
    axes.set(xlim=ends, ylim=ends, aspect="equal", xlabel="predicted latency [ms]",
             ylabel="measured latency [ms]")
    found = check.verdict.quality
    axes.set_title(f"{len(value)} fresh networks of {check.profile.space}\nSpearman "
                   f"{found.spearman:.3f} · MAPE {found.mape:.1%} · bias {found.bias:+.1%}",
                   fontsize=9, loc="left")
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return buffer.getvalue()
