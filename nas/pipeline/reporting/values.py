"""Numbers as people read them."""

from nas.core.problem import Objective
from nas.core.trial import Outcome

NAMES = {"error": "validation error", "latency_ms": "latency", "params": "parameters",
         "macs": "multiply-adds", "activation_bytes": "activation memory",
         "rtf": "real-time factor", "kv_bytes": "key-value caches"}


def shown(metric: str, value: float) -> str:
    """Returns a metric with its unit."""
    if metric == "error":
        return f"{value:.2f}\xa0%"
    if metric == "latency_ms":
        return f"{value:#.3g}\xa0ms" if value < 100 else f"{value:,.0f}\xa0ms"
    if metric == "rtf":
        return f"{value:#.3g}"
    if metric == "kv_bytes":
        return f"{value / 1e6:#.3g}\xa0MB"
    if metric == "activation_bytes":
        return f"{value:,.0f}\xa0B"
    return f"{value:,.0f}"


def axis(objective: Objective) -> str:
    """Returns what stands beside an axis."""
    name = NAMES.get(objective.name, objective.name)
    return name if objective.unit == "1" else f"{name} [{objective.unit}]"


def change(metric: str, value: float, base: float) -> str:
    """Returns how a value differs from a base: in points for an error, else in percent."""
    if metric == "error":
        return f"{_signed(value - base, 2)}\xa0points"
    return percent(value / base - 1, signed=True)


def percent(share: float, *, digits: int = 1, signed: bool = False) -> str:
    """Returns a share in percent."""
    value = 100 * share
    return f"{_signed(value, digits) if signed else f'{value:.{digits}f}'}\xa0%"


def _signed(value: float, digits: int) -> str:
    rounded = round(value, digits) + 0.0  # no minus before a zero
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{rounded:.{digits}f}"


def summary(outcome: Outcome) -> str:
    """Returns a network with its metrics in one line."""
    metrics = ", ".join(f"{NAMES.get(name, name)} {shown(name, value)}"
                        for name, value in outcome.metrics.items())
    return f"{outcome.trial.arch.digest}: {metrics}"
