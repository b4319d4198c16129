"""Numbers as people read them."""

from nas.core.problem import Objective
from nas.core.trial import Outcome

NAMES = {"error": "validation error", "latency_ms": "latency", "params": "parameters",
         "macs": "multiply-adds", "activation_bytes": "activation memory"}


def shown(metric: str, value: float) -> str:
    """Returns a metric with its unit."""
    if metric == "error":
        return f"{value:.2f} %"
    if metric == "latency_ms":
        return f"{value:.3g} ms" if value < 100 else f"{value:,.0f} ms"
    if metric == "activation_bytes":
        return f"{value:,.0f} B"
    return f"{value:,.0f}"


def axis(objective: Objective) -> str:
    """Returns what stands beside an axis."""
    name = NAMES.get(objective.name, objective.name)
    return name if objective.unit == "1" else f"{name} [{objective.unit}]"


def change(metric: str, value: float, base: float) -> str:
    """Returns how a value differs from a base: in points for an error, else in percent."""
    if metric == "error":
        return f"{value - base:+.2f} points".replace("-", "−")
    return f"{value / base - 1:+.0%}".replace("-", "−").replace("%", " %")


def summary(outcome: Outcome) -> str:
    """Returns a network with its metrics in one line."""
    metrics = ", ".join(f"{NAMES.get(name, name)} {shown(name, value)}"
                        for name, value in outcome.metrics.items())
    return f"{outcome.trial.arch.digest}: {metrics}"
