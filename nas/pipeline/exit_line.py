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
    return f"{line}; rank correlation with validation{_trust_text(trust)}"


def cascade_line(found: Mapping[str, Any], inputs: str = "images") -> str:
    """Returns what a finished search found of validating on a part of the inputs, in one line."""
    trust = found["trust"]
    state = "in use" if found["open"] else "not in use"
    line = f"cascade: {found['images']:,} of {found['of']:,} {inputs} first, {state} at the end"
    if trust is None:
        return f"{line}; too few validations to tell how well they rank"
    return f"{line}; rank correlation with all of them{_trust_text(trust)}"


def _trust_text(trust: Mapping[str, Any]) -> str:
    rho = trust["spearman"] if trust["at_equal_cost"] is None else trust["at_equal_cost"]
    at = "" if trust["at_equal_cost"] is None else " at equal cost"
    over_all = "" if trust["at_equal_cost"] is None else f" {trust['spearman']:.2f} over all,"
    return (f"{at} {rho:.2f} ({trust['low']:.2f} … {trust['high']:.2f}),{over_all} "
            f"{trust['pairs']} networks")
