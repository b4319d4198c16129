"""What every output says of an early exit that learnt."""

from collections.abc import Mapping
from typing import Any


def exit_line(found: Mapping[str, Any]) -> str:
    """Returns what an exit of a finished search found, in one line."""
    trust = found["trust"]
    state = "open" if found["open"] else "switched off" if found["switches"] else "never opened"
    line = f"early exit {found['name']}: {state}; {found['scored']} scored"
    if trust is None:
        return f"{line}; too few validations to tell how well it ranks"
    rho = trust["spearman"] if trust["at_equal_cost"] is None else trust["at_equal_cost"]
    at = "" if trust["at_equal_cost"] is None else " at equal cost"
    return (f"{line}; rank correlation with validation{at} {rho:.2f} ({trust['low']:.2f} … "
            f"{trust['high']:.2f}), {trust['spearman']:.2f} over all, {trust['pairs']} networks")
