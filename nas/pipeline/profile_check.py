"""The use-case of `nas profile check`: a stored profile against fresh measurements."""

import tempfile
from pathlib import Path
from typing import Any

from hardware_profiles.check import ProfileCheck, check_profile
from hardware_profiles.host import host_key
from hardware_profiles.measure import CONTENDED
from hardware_profiles.profile import HardwareProfile, Quality
from hardware_profiles.store import user_store
from nas.core.errors import InputError
from nas.core.files import replace_file
from nas.pipeline.design import load_design
from nas.pipeline.events import Event, Watcher, silent
from nas.pipeline.profile import load_profile
from nas.pipeline.profile_picture import draw_check
from supernets.tasks.waves import SAMPLE_RATE

COLUMNS = ("", "nets", "Spearman", "MAPE", "bias", "±5 %", "±10 %")


def run_check(name: str | None, *, supernet: str, nets: int = 40, seed: int = 0,
              picture: Path | None = None, watch: Watcher = silent) -> ProfileCheck:
    """Measures fresh networks and compares them with a profile of this machine.

    Args:
        name: Id or file of the profile; None: the stored one of this machine at one thread.
        supernet: Whose space the profile is of.
        nets: How many networks to measure.
        seed: Of the networks drawn.
        picture: Where the PNG goes, in place of an old one; None: nowhere.
        watch: Is told of measuring.

    Raises:
        InputError: No such profile, or it is of another space, machine or runtime; or the
            picture cannot be written (nothing has been measured then).
    """
    if seed < 0:
        raise InputError(f"--seed {seed}: at least 0")
    if picture is not None:
        _require_writable(picture)
    if name is not None:
        profile = load_profile(name)
        net = load_design(supernet, resolution=_resolution(profile), seconds=_seconds(profile))
    else:
        net = load_design(supernet)
        found = user_store().find(host_key(net.space, net.vocabulary))
        if found is None:
            raise InputError(f"no profile of this machine for {supernet}; `nas profile run "
                             f"--supernet {supernet}` makes one")
        profile = found
    check = check_profile(
        profile, net.space, net.vocabulary, net.block_ids, nets=nets, seed=seed,
        progress=lambda done, total: watch(Event("check", done, total)))
    if picture is not None:
        try:
            replace_file(picture, draw_check(check))
        except OSError as error:
            raise _unwritable(picture, error) from None
    return check


def _resolution(profile: HardwareProfile) -> int | None:
    # A space that was planned at another resolution says so in its id.
    side = profile.validity.input_shape[-1]
    return side if profile.space.endswith(f"@{side}") else None


def _seconds(profile: HardwareProfile) -> float | None:
    # The input of what hears is one axis of samples.
    shape = profile.validity.input_shape
    return shape[0] / SAMPLE_RATE if len(shape) == 1 else None


def check_rows(check: ProfileCheck) -> list[list[object]]:
    """Returns the rows under `COLUMNS`: fresh networks above those that the profile held out."""
    stated = check.profile.calibration
    rows = [_row("fresh", len(check.measured_ms), check.verdict.quality),
            _row("held out", stated.test_count, stated.stated_quality())]
    for name, text in (("block_sum", "raw sum"), ("macs", "MACs")):
        if name in check.baselines:
            rows.append(_row(f"fresh, {text}", len(check.measured_ms), check.baselines[name]))
        if name in stated.baselines:
            rows.append(_row(f"held out, {text}", stated.test_count, stated.baselines[name]))
    return rows


def check_line(check: ProfileCheck) -> str:
    """Returns the verdict in one line, with the remedy where it fails."""
    verdict, count = check.verdict, len(check.measured_ms)
    noise = _noise(check)
    if verdict.ok:
        return (f"profile {check.profile.id} holds: {verdict.inside} of {count} networks within "
                f"the stated interval (at least {verdict.inside_needed} needed), bias "
                f"{verdict.quality.bias:+.1%} (limit ±{verdict.bias_limit:.1%}){noise}")
    return (f"profile {check.profile.id} no longer holds: {'; '.join(verdict.problems)}{noise}; "
            "run `nas profile run` to measure anew, on a quiet machine")


def check_payload(check: ProfileCheck) -> dict[str, Any]:
    """Returns the check as plain JSON values."""
    verdict, stated, estimate = check.verdict, check.profile.calibration, check.estimate
    return {
        "profile": check.profile.id, "space": check.profile.space, "ok": verdict.ok,
        "problems": list(verdict.problems), "networks": len(check.measured_ms),
        "inside": verdict.inside, "inside_needed": verdict.inside_needed,
        "bias_limit": verdict.bias_limit, "fresh": verdict.quality.model_dump(),
        "held_out": stated.stated_quality().model_dump(),
        "baselines": {
            "fresh": {name: found.model_dump() for name, found in check.baselines.items()},
            "held_out": {name: found.model_dump() for name, found in stated.baselines.items()}},
        "wall_over_cpu": check.wall_over_cpu, "unstable": check.unstable,
        "points": [
            {"digest": digest, "predicted_ms": value, "lower_ms": lower, "upper_ms": upper,
             "measured_ms": measured}
            for digest, value, lower, upper, measured in zip(
                check.digests, estimate.value.tolist(), estimate.lower.tolist(),
                estimate.upper.tolist(), check.measured_ms.tolist(), strict=True)]}


def _noise(check: ProfileCheck) -> str:
    found = []
    if check.wall_over_cpu > CONTENDED:
        found.append(f"the wall clock ran {check.wall_over_cpu:.2f} times as long as the CPU clock")
    if check.unstable:
        found.append(f"{check.unstable} networks did not settle")
    return f" (this check was disturbed: {', '.join(found)})" if found else ""


def _row(name: str, count: int, found: Quality) -> list[object]:
    return [name, count, f"{found.spearman:.3f}", f"{found.mape:.1%}", f"{found.bias:+.1%}",
            f"{found.in5:.0%}", f"{found.in10:.0%}"]


def _require_writable(picture: Path) -> None:
    if picture.suffix.lower() != ".png" or picture.is_dir():
        raise InputError(f"--out {picture}: the picture is a PNG file; give a name that ends in "
                         ".png")
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=picture.parent):
            pass
    except OSError as error:
        raise _unwritable(picture, error) from None


def _unwritable(picture: Path, error: OSError) -> InputError:
    return InputError(f"--out {picture} cannot be written ({error.strerror}); give another place")
