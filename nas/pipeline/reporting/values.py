"""Numbers as people read them."""

from nas.core.problem import Objective
from nas.core.protocols import Quality
from nas.core.trial import Outcome

NAMES = {"latency_ms": "latency", "params": "parameters",
         "macs": "multiply-adds", "activation_bytes": "activation memory",
         "rtf": "real-time factor", "kv_bytes": "key-value caches"}
_USUAL = Quality()


def name_of(metric: str, quality: Quality) -> str:
    """Returns what a metric is called."""
    return f"validation {quality.name}" if metric == "error" else NAMES.get(metric, metric)


def shown(metric: str, value: float, quality: Quality = _USUAL) -> str:
    """Returns a metric with its unit; that of an error is in `quality`."""
    if metric == "error":
        return quality.shown(value).replace(" ", "\xa0")
    if metric == "latency_ms":
        return f"{value:#.3g}\xa0ms" if value < 100 else f"{value:,.0f}\xa0ms"
    if metric == "rtf":
        return f"{value:#.3g}"
    if metric == "kv_bytes":
        return f"{value / 1e6:#.3g}\xa0MB"
    if metric == "activation_bytes":
        return f"{value:,.0f}\xa0B"
    return f"{value:,.0f}"


def axis(objective: Objective, quality: Quality) -> str:
    """Returns what stands beside an axis."""
    if objective.name == "error":
        return f"validation {quality.label}"
    name = NAMES.get(objective.name, objective.name)
    return name if objective.unit == "1" else f"{name} [{objective.unit}]"


def change(metric: str, value: float, base: float, quality: Quality = _USUAL) -> str:
    """Returns how a value differs from a base: in points or its unit for an error, else in %."""
    if metric == "error":
        if quality.unit == "%":
            return f"{_signed(value - base, 2)}\xa0points"
        difference = quality.shown(abs(value - base)).replace(" ", "\xa0")
        return difference if value == base else f"{'−' if value < base else '+'}{difference}"
    return percent(value / base - 1, signed=True)


def percent(share: float, *, digits: int = 1, signed: bool = False) -> str:
    """Returns a share in percent."""
    value = 100 * share
    return f"{_signed(value, digits) if signed else f'{value:.{digits}f}'}\xa0%"


def _signed(value: float, digits: int) -> str:
    rounded = round(value, digits) + 0.0  # no minus before a zero
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{rounded:.{digits}f}"


def summary(outcome: Outcome, quality: Quality) -> str:
    """Returns a network with its metrics in one line."""
    metrics = ", ".join(f"{name_of(name, quality)} {shown(name, value, quality)}"
                        for name, value in outcome.metrics.items())
    return f"{outcome.trial.arch.digest}: {metrics}"
