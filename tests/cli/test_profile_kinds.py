"""`nas profile run --few-shot` and `nas profile import-table`."""

import csv
import json
from pathlib import Path

import pytest

from cli.main import main
from hardware_profiles.store import CACHE_VARIABLE, user_store
from supernets.mobilenet.ofa import OfaMobileNetV3, ofa_mobilenet_v3, table_key

SPACE = "supernets.mobilenet.ofa:ofa_mobilenet_v3"
ABOUT = """
source = "measured in a test"
licence = "CC0-1.0"
[device]
id = "board"
name = "A board"
cpu = "unknown"
cores = 4
memory_bytes = 4_000_000_000
os = "Linux"
[runtime]
name = "someruntime"
version = "1"
provider = "CPU"
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def files(cache: Path) -> tuple[str, str]:
    """A table of once-for-all's space at two resolutions, and its description."""
    table, about = cache / "table.csv", cache / "about.toml"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["resolution", "key", "mean_ms"])
        for resolution in (64, 96):
            parts: OfaMobileNetV3 = ofa_mobilenet_v3(resolution=resolution)
            writer.writerows([resolution, table_key(block), 0.5] for block in parts.vocabulary)
    about.write_text(ABOUT)
    return str(table), str(about)


def test_a_table_becomes_a_profile(
        capsys: pytest.CaptureFixture[str], files: tuple[str, str]) -> None:
    table, about = files
    arguments = ["profile", "import-table", table, "--about", about, "--space", SPACE]
    assert main([*arguments, "--only", "resolution=96", "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert payload["space"] == "ofa-mbv3-w1.2/1@96"
    assert payload["calibration"]["held_out"] is None
    assert main(["profile", "show", payload["id"]]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "never compared" not in shown.split("warnings")[0]
    assert "board" in payload["id"]
    assert main(["profile", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["within_10"] is None


@pytest.mark.parametrize(("options", "message"), [
    (["--space", SPACE], "is there twice"),
    (["--space", SPACE, "--only", "resolution"], "give COLUMN=VALUE"),
    (["--space", SPACE, "--only", "resolution=32"], "has no rows with resolution 32"),
    (["--space", SPACE, "--only", "resolution=33"], "a multiple of 4"),
    (["--space", "supernets.mobilenet.ofa:nothing"], "has no 'nothing'"),
    (["--space", "supernets.mobilenet.ofa:DEPTHS"], "it failed with TypeError"),
    (["--space", "hardware_profiles.host:host_device"], "has no 'space'"),
    (["--space", SPACE, "--only", "resolution=64", "--about", "nowhere.toml"], "cannot be read"),
])
def test_a_table_that_cannot_be_used_is_one_line(
        capsys: pytest.CaptureFixture[str], files: tuple[str, str], options: list[str],
        message: str) -> None:
    table, about = files
    assert main(["profile", "import-table", table, "--about", about, *options]) == 2
    err = capsys.readouterr().err.strip()
    assert message in err
    assert len(err.splitlines()) == 1
    assert not user_store().list()


@pytest.mark.usefixtures("cache")
def test_a_few_networks_become_a_profile(
        capsys: pytest.CaptureFixture[str], tiny_folder: Path) -> None:
    arguments = ["profile", "run", "--supernet", str(tiny_folder), "--allow-contended",
                 "--few-shot"]
    assert main([*arguments, "2"]) == 2
    assert "2 networks are too few" in capsys.readouterr().err
    assert main([*arguments, "12", "--json"]) == 0
    payload = json.loads(capsys.readouterr().out)
    assert (payload["kind"], len(payload["subnets"])) == ("fewshot", 12)
    assert main(["profile", "show", payload["id"]]) == 0
    assert "cross-validation" in capsys.readouterr().out
