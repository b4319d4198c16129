"""The agent in a bare environment against `nas profile run` on the same machine.

    python tests/benchmarks/bench_agent.py [--python PYTHON]
    python tests/benchmarks/bench_agent.py --emulated "qemu-aarch64-static -L ROOT ROOT/usr/bin/…"

Makes a virtual environment with numpy and onnxruntime only (or takes PYTHON as such), runs the
agent there from the exported bundle of the shipped space, imports its result, measures the same
blocks and networks through the project, and compares them one by one.

With --emulated only the first half, a shorter one: does the agent run to its end as another
architecture? Its times are those of an emulator. A userland comes from
``mmdebstrap --variant=extract --arch=arm64 --include=python3,libstdc++6 bookworm ROOT`` and the
aarch64 wheels of numpy and onnxruntime unpacked into ROOT/usr/lib/python3/dist-packages;
onnxruntime also needs ROOT/proc/cpuinfo to be that of an arm64 machine.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from _report import write_report

from hardware_profiles.agent_result import read_result
from hardware_profiles.bundle import write_bundle
from hardware_profiles.bundle_manifest import RuntimeWish
from hardware_profiles.host import HostConfig, profile_host
from hardware_profiles.importing import import_result
from hardware_profiles.measure import protocol_for, this_runtime
from hardware_profiles.plan import plan_profile
from hardware_profiles.profile import HardwareProfile, MeasureProtocol
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import build_space
from supernets.mobilenet.presets import FMNIST

SEED = 0
GATE = 0.03  # median difference of blocks and of networks
NEEDED = ("numpy", "onnxruntime")


def bare_python(folder: Path) -> Path:
    """Makes an environment with this process's numpy and onnxruntime and returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q",
                    *(f"{name}=={version(name)}" for name in NEEDED)], check=True)
    return python


def packages(python: Path) -> dict[str, str]:
    """Returns what is installed there, by name."""
    listed = subprocess.run([python, "-m", "pip", "list", "--format", "json"], check=True,
                            capture_output=True, text=True).stdout
    return {item["name"]: item["version"] for item in json.loads(listed)}


def differences(ours: HardwareProfile, theirs: HardwareProfile) -> dict[str, dict[str, float]]:
    """Returns how far the agent's blocks and networks are from the host's, as shares."""
    found = {}
    for what, here, there in (
            ("blocks", [one.timing.latency_ms for one in ours.entries],
             [one.timing.latency_ms for one in theirs.entries]),
            ("networks", [one.timing.latency_ms for one in ours.subnets],
             [one.timing.latency_ms for one in theirs.subnets])):
        relative = np.array(there) / np.array(here) - 1.0
        found[what] = {"count": len(relative), "median_abs": float(np.median(np.abs(relative))),
                       "median": float(np.median(relative)),
                       "p95_abs": float(np.quantile(np.abs(relative), 0.95))}
    return found


def describe(profile: HardwareProfile, seconds: float) -> dict[str, Any]:
    """Returns what a profile says of itself."""
    return {"held_out": profile.calibration.held_out.model_dump(), "wall_s": seconds,
            "validity": profile.validity.model_dump(exclude={"ops"})}


def by_agent(command: list[str], folder: Path, *, device: str, protocol: MeasureProtocol,
             counts: HostConfig) -> tuple[HardwareProfile, dict[str, Any]]:
    """Exports, runs the agent with that command before its name, imports."""
    space = build_space(FMNIST)
    vocabulary = build_vocabulary(FMNIST, space)
    plan = plan_profile(space, vocabulary.blocks, vocabulary.block_ids, seed=SEED,
                        calib_nets=counts.calib_nets, test_nets=counts.test_nets)
    bundle, result = folder / "bundle.zip", folder / "result.json"
    manifest = write_bundle(
        bundle, plan, space=space, vocabulary=vocabulary.blocks, device=device,
        supernet="mobilenet-fmnist", wish=RuntimeWish(), protocol=protocol, seed=SEED)
    with zipfile.ZipFile(bundle) as content:
        content.extractall(folder / "board")
        unpacked = sum(entry.file_size for entry in content.infolist())
    start = time.perf_counter()
    subprocess.run([*command, "agent.py", "--out", str(result)], check=True,
                   cwd=folder / "board")
    seconds = time.perf_counter() - start
    profile = import_result(read_result(result), manifest, space, vocabulary.blocks,
                            vocabulary.block_ids)
    return profile, {**describe(profile, seconds), "bundle_bytes": bundle.stat().st_size,
                     "unpacked_bytes": unpacked, "models": len(manifest.models),
                     "result_bytes": result.stat().st_size,
                     "protocol": protocol.model_dump(), "device": profile.device.model_dump(),
                     "on_device": profile.provenance}


def by_host() -> tuple[HardwareProfile, dict[str, Any]]:
    """Measures as `nas profile run` does."""
    space = build_space(FMNIST)
    vocabulary = build_vocabulary(FMNIST, space)
    start = time.perf_counter()
    profile = profile_host(space, vocabulary.blocks, vocabulary.block_ids, seed=SEED)
    return profile, describe(profile, time.perf_counter() - start)


def emulated(command: list[str]) -> None:
    """Runs the agent in an emulator and records that it ended, and with what."""
    with tempfile.TemporaryDirectory() as name:
        profile, figures = by_agent(
            command, Path(name), device="qemu-arm64",
            protocol=MeasureProtocol(warm_up=2, runs=15, passes=3, max_passes=5),
            counts=HostConfig(calib_nets=12, test_nets=10))
    print(profile.device, profile.calibration.held_out)
    print(write_report("agent_arm64", {
        "note": "emulation by qemu-user: the agent ran to its end as arm64; its times mean nothing "
                "and its processor's name is that of the emulating machine",
        "agent": figures}, seed=SEED))


def compare(python: Path | None) -> None:
    """Measures by the agent and by the project, prints and writes the report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = python or bare_python(folder / "bare")
        agent, agent_figures = by_agent([str(python), "-I"], folder, device="bare",
                                        protocol=protocol_for(this_runtime()),
                                        counts=HostConfig())
        agent_figures["packages"] = packages(python)
    host, host_figures = by_host()
    if agent.runtime.version != host.runtime.version:
        sys.exit(f"ONNX Runtime {agent.runtime.version} there and {host.runtime.version} here "
                 "are not to be compared")
    found = differences(host, agent)
    for what, figures in found.items():
        print(f"{what}: median difference {figures['median_abs']:.2%} (signed "
              f"{figures['median']:+.2%}) of {figures['count']}, gate {GATE:.0%}")
    print(write_report("agent", {"gate": GATE, "difference": found, "agent": agent_figures,
                                 "host": host_figures}, seed=SEED))


def main() -> None:
    """Reads the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, help="of an environment that is bare already")
    parser.add_argument("--emulated", type=shlex.split, metavar="COMMAND",
                        help="that runs a Python of another architecture")
    options = parser.parse_args()
    if options.emulated:
        emulated(options.emulated)
    else:
        compare(options.python)


if __name__ == "__main__":
    main()
