"""What every output says of the latencies that a search was scored with."""

import numpy as np

from hardware_profiles.estimated import NOT_MEASURED
from hardware_profiles.profile import HardwareProfile
from nas.core.protocols import Task, signature_of

HELD_OUT = {"held-out networks": "held-out networks",
            "cross-validation": "networks by cross-validation",
            "leave one model out": "networks, each left out of the fit"}


def place(profile: HardwareProfile) -> str:
    """Returns the device for a title, marked unless its latencies were measured in full."""
    marks = {"estimated": f" ({NOT_MEASURED})", "fewshot": " (fitted to a few measured networks)"}
    return profile.device.id + marks.get(profile.kind, "")


def latency_note(profile: HardwareProfile) -> str:
    """Returns in one line how the latencies came about and how far they can be trusted."""
    fit = profile.calibration
    parts = ["never compared with whole networks" if fit.held_out is None else
             f"{fit.test_count} {HELD_OUT[fit.held_out_by]}: {fit.held_out.in10:.0%} within "
             f"10 %, rank {fit.held_out.spearman:.3f}", *profile.validity.warnings]
    runtime = profile.runtime
    if (runtime.precision, runtime.batch) != ("fp32", 1):  # what the exported file itself is
        parts.insert(0, f"of {runtime.precision} at batch {runtime.batch}")
    if profile.validity.extrapolated:
        parts.append(f"extrapolated: {', '.join(profile.validity.extrapolated)}")
    return "; ".join(parts)


def free_sizes(task: Task) -> dict[str, int]:
    """Returns the sizes of an exported file's free axes, but the batch's, at which it is timed.

    They are those of the inputs that costs are counted on.
    """
    shape = task.example_inputs(1, np.random.default_rng(0)).shape
    axes = signature_of(task).axes
    return {name: int(shape[place]) for place, name in enumerate(axes) if place > 0}
