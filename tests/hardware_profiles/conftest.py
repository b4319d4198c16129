import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from hardware_profiles.bundle import write_bundle
from hardware_profiles.bundle_manifest import BundleManifest, RuntimeWish
from hardware_profiles.identity import generator_hash
from hardware_profiles.plan import plan_profile
from hardware_profiles.profile import (
    Calibration,
    Device,
    Entry,
    HardwareProfile,
    MeasureProtocol,
    Quality,
    Runtime,
    Subnet,
    Timing,
    Validity,
)
from nas.core.space import GeneSpace
from nas.core.vocabulary import Vocabulary
from supernets.mobilenet.blocks import build_vocabulary
from supernets.mobilenet.config import MobileNetConfig, StageConfig, build_space


@pytest.fixture(scope="session")
def config() -> MobileNetConfig:
    """A space of a few hundred networks over about ten blocks."""
    return MobileNetConfig(
        name="tiny/1", input_shape=(1, 8, 8), num_classes=3, stem_width=8, head_width=16,
        stages=(StageConfig(widths=(8, 16), depths=(1, 2), kernels=(3, 5), expansions=(2,)),
                StageConfig(widths=(16,), depths=(1,), kernels=(3,), expansions=(2, 3), stride=2,
                            se_ratio=0.25)))


@pytest.fixture(scope="session")
def shipped_config() -> MobileNetConfig:
    """The space of the shipped supernet."""
    return MobileNetConfig(
        name="mobilenet-fmnist/1", input_shape=(1, 28, 28), num_classes=10, stem_width=16,
        head_width=192, stages=(
            StageConfig(widths=(8, 16), depths=(1, 2), kernels=(3, 5), expansions=(2, 3)),
            StageConfig(widths=(16, 24), depths=(1, 2, 3), expansions=(2, 3), stride=2),
            StageConfig(widths=(24, 32, 40), depths=(1, 2, 3), expansions=(2, 3, 4), stride=2),
            StageConfig(widths=(48, 56, 64), depths=(1, 2), kernels=(3, 5), expansions=(2, 3),
                        se_ratio=0.25)))


@pytest.fixture(scope="session")
def space(config: MobileNetConfig) -> GeneSpace:
    return build_space(config)


@pytest.fixture(scope="session")
def vocabulary(config: MobileNetConfig, space: GeneSpace) -> Vocabulary:
    return build_vocabulary(config, space)


def _timing(latency_ms: float) -> Timing:
    return Timing(latency_ms=latency_ms, cpu_min_ms=latency_ms, wall_min_ms=latency_ms,
                  wall_median_ms=1.1 * latency_ms, wall_p95_ms=1.5 * latency_ms,
                  pass_ms=(latency_ms,) * 3, agreeing=3, stable=True, runs=9)


@pytest.fixture
def make_profile(space: GeneSpace, vocabulary: Vocabulary) -> Callable[..., HardwareProfile]:
    """A made-up profile of the tiny space: block i takes 1 + i ms, an empty graph half a ms."""
    quality = Quality(mape=0.02, bias=0.0, in5=0.95, in10=1.0, spearman=0.99)

    def make(**changes: object) -> HardwareProfile:
        arch = space.sample(np.random.default_rng(0))
        fields = {
            "id": "made-up", "kind": "measured", "space": space.id,
            "generator": generator_hash(space, vocabulary.blocks),
            "device": Device(id="host-x", name="x", cpu="x", cores=2, memory_bytes=1, os="y"),
            "runtime": Runtime(version="1.2.3"), "protocol": MeasureProtocol(),
            "entries": tuple(Entry(key=block.key, timing=_timing(1.0 + index))
                             for index, block in enumerate(vocabulary.blocks)),
            "subnets": (Subnet(digest=arch.digest, split="test", timing=_timing(4.0),
                               codes=tuple(space.encode([arch])[0].tolist())),),
            "calibration": Calibration(
                model="affine_blocks", empty_ms=0.5, calib_count=40,
                coefficients={"own_ms": 0.9, "blocks": -0.1, "constant": 0.2},
                test_count=60, held_out=quality, lower_ratio=0.9, upper_ratio=1.2, baselines={}),
            "validity": Validity(
                input_shape=(1, 8, 8), ops=("conv2d",), repeat_spearman=1.0,
                repeat_difference=0.0, pass_spearman=1.0,
                pass_difference=0.0, wall_over_cpu=1.0, unstable=0, warnings=(), valid=True),
            "provenance": {"seed": "0"}, "licence": "CC0-1.0", "created": datetime.now(UTC),
        }
        return HardwareProfile(**{**fields, **changes})

    return make


QUICK = MeasureProtocol(warm_up=2, runs=10, passes=3, max_passes=5)


@dataclass(frozen=True)
class Exported:
    """A bundle of the tiny space and what the agent measured of it."""

    path: Path
    manifest: BundleManifest
    result: Path


@pytest.fixture(scope="session")
def exported(space: GeneSpace, vocabulary: Vocabulary,
             tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Not to be changed."""
    folder = tmp_path_factory.mktemp("exported")
    plan = plan_profile(space, vocabulary.blocks, vocabulary.block_ids, calib_nets=8, test_nets=6,
                        seed=0)
    manifest = write_bundle(
        folder / "bundle.zip", plan, space=space, vocabulary=vocabulary.blocks, device="board-1",
        supernet="tiny", wish=RuntimeWish(), protocol=QUICK, seed=0)
    with zipfile.ZipFile(folder / "bundle.zip") as bundle:
        bundle.extractall(folder / "board")
    done = run_agent(folder / "board", "--out", str(folder / "result.json"))
    assert done.returncode == 0, done.stderr
    return Exported(folder / "bundle.zip", manifest, folder / "result.json")


@pytest.fixture(scope="session")
def agent_runner() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run_agent


def run_agent(folder: Path, *arguments: str,
              **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the agent that lies in a folder, as on a board: nothing of this project is in reach."""
    return subprocess.run(
        [sys.executable, "-I", str(folder / "agent.py"), *arguments], capture_output=True,
        text=True, check=False, timeout=120, env={**os.environ, **environment}, cwd=folder)
