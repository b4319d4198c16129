"""The front as a picture."""

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from nas.core.files import replace_file
from nas.core.problem import Objective
from nas.core.protocols import Quality
from nas.core.trial import Outcome


def draw_front(outcomes: Sequence[Outcome], front: Sequence[Outcome], best: Outcome,
               objectives: Sequence[Objective], path: Path, *, title: str,
               quality: Quality) -> None:
    """Draws every validated network, the front and the chosen one as PNG.

    The first objective goes up, the second (or the trial's number) to the right.

    Raises:
        OSError: The file cannot be written.
    """
    up = objectives[0]
    right = objectives[1] if len(objectives) > 1 else None

    def points(chosen: Sequence[Outcome]) -> tuple[list[float], list[float]]:
        xs = [o.metrics[right.name] if right else float(o.trial.id) for o in chosen]
        return xs, [o.metrics[up.name] for o in chosen]

    figure = Figure(figsize=(7.2, 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.scatter(*points(outcomes), s=16, color="#9aa5b1", label=f"validated ({len(outcomes)})")
    if right:
        line = sorted(front, key=lambda outcome: outcome.metrics[right.name])
        # With a third objective the front is no line in these two.
        axes.plot(*points(line), "o-" if len(objectives) == 2 else "o", color="#2563eb",
                  markersize=5, label=f"Pareto front ({len(front)})")
    axes.scatter(*points([best]), s=120, marker="*", color="#dc2626", zorder=3, label="exported")
    axes.set_ylabel(f"{_label(up, quality)} on the search split")
    axes.set_xlabel(_label(right, quality) if right else "trial")
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(color="#e5e7eb", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    replace_file(path, picture.getvalue())


def _label(objective: Objective, quality: Quality) -> str:
    return quality.label if objective.name == "error" else f"{objective.name} [{objective.unit}]"
