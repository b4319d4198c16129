"""Bad input: one line on stderr, exit code 2, nothing made and nothing lost."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import supernets.shipped
from cli.main import main

SHIPPED = Path(supernets.shipped.__file__).parent / "mobilenet_fmnist"


def fails(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    """Runs a command that must fail; returns its one line."""
    assert main(list(arguments)) == code
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("nas: ")]
    assert len(lines) == 1, captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    return lines[0]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_unknown_supernet_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "search", "--supernet", "mobilenet-fminst")
    assert "mobilenet-fminst" in line
    assert "did you mean mobilenet-fmnist?" in line


def test_unknown_device(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unknown device 'toaster'" in fails(capsys, "search", "--device", "toaster")


def test_unknown_searcher(capsys: pytest.CaptureFixture[str]) -> None:
    assert "did you mean evolution?" in fails(capsys, "search", "--searcher", "evolutoin")


def test_unknown_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert "no module 'nowhere'" in fails(capsys, "search", "--supernet", "nowhere:factory")


def test_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--latency" in fails(capsys, "search", "--latency", "3")


@pytest.mark.parametrize(("option", "value"), [
    ("--budget", "0"), ("--max-latency-ms", "-1"), ("--seed", "-3"), ("--budget", "many"),
    ("--objectives", "error,happiness"), ("--objectives", "error,error")])
def test_option_out_of_range(capsys: pytest.CaptureFixture[str], option: str, value: str) -> None:
    assert option.lstrip("-") in fails(capsys, "search", option, value)


@pytest.mark.parametrize(("options", "said"), [
    ("--patience 0", "--patience: "),
    ("--time-limit 5x", "such as 90s, 10m or 2h (got '5x')"),
    ("--time-limit 0", "--time-limit: "),
    ("--stop-at error", "'error' is not of the form NAME=VALUE"),
    ("--stop-at error=low", "'low' is not a number"),
    ("--stop-at error=3,error=4", "'error' is given twice"),
    ("--stop-at happiness=3", "unknown metric 'happiness'; known: error, latency_ms"),
    ("--stop-at energy_mj=3", "energy_mj where it is an objective"),
    ("--ask 0", "--ask: "),
    ("--workers 2", "needs --executor process or ray"),
    ("--workers 0 --executor process", "--workers: "),
    ("--attempts 0", "--attempts: "),
    ("--ray-address ray://x:1", "needs --executor ray, not serial"),
    ("--gpus-per-trial -1", "--gpus-per-trial: "),
    ("--gpus-per-trial 1 --executor process", "needs --executor ray, not process"),
    ("--executor proces", "did you mean process?"),
    ("--join", "needs the --storage"),
    ("--join --storage sqlite:///x.db", "give --study"),
    ("--study mine", "give --storage"),
    ("--searcher-option population", "--searcher-option: 'population' is not of the form"),
    ("--compare evolution", "needs two or more different searchers"),
    ("--compare evolution,evolution", "needs two or more different searchers"),
    ("--compare evolution,rnadom", "did you mean random?"),
    ("--compare evolution,random --seeds 0", "--seeds: "),
    ("--compare evolution,random --patience 3", "drop --cascade, --patience"),
    ("--compare evolution,random --storage sqlite:///x.db", "drop --storage"),
    ("--compare evolution,random --searcher-option population=4", "drop it from --compare"),
    ("--seeds 3", "--seeds is for --compare"),
    ("--searcher optuna:optuna.samplers:TPESamper", "has no 'TPESamper'"),
])
def test_options_of_searching_that_make_no_sense(
        capsys: pytest.CaptureFixture[str], tmp_path: Path, options: str, said: str) -> None:
    assert said in fails(capsys, "search", *options.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("profile_cache")
@pytest.mark.parametrize(("options", "said"), [
    ("--searcher evolution --searcher-option popluation=3",
     "has no option 'popluation'; it takes population"),
    ("--searcher evolution --searcher-option population=x",
     "option 'population' is an integer, not 'x'"),
    ("--cascade --objectives params,latency_ms", "every objective is known without it"),
])
def test_options_that_a_part_refuses_leave_no_folder(
        capsys: pytest.CaptureFixture[str], tmp_path: Path, options: str, said: str) -> None:
    assert said in fails(capsys, "search", *options.split(), "--out", "run")
    assert list(tmp_path.iterdir()) == []


def test_config_file_with_an_unknown_key(capsys: pytest.CaptureFixture[str],
                                         tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("bugdet = 3\n")
    assert "bugdet" in fails(capsys, "search", "--config", "my.toml")


def test_config_file_that_is_not_toml(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("budget 3\n")
    assert "my.toml" in fails(capsys, "search", "--config", "my.toml")


def test_missing_config_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert "none.toml does not exist" in fails(capsys, "search", "--config", "none.toml")


def test_existing_output_folder_is_left_alone(capsys: pytest.CaptureFixture[str],
                                              tmp_path: Path) -> None:
    kept = tmp_path / "run" / "precious.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    assert "run exists" in fails(capsys, "search", "--out", "run")
    assert [path.name for path in kept.parent.iterdir()] == ["precious.txt"]


def test_resume_of_no_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no run folder" in fails(capsys, "search", "--resume", str(tmp_path))


def test_resume_takes_no_other_option(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "drop --budget" in fails(capsys, "search", "--resume", str(tmp_path), "--budget", "3")


@pytest.mark.usefixtures("profile_cache")
def test_impossible_macs_names_the_smallest(capsys: pytest.CaptureFixture[str]) -> None:
    line = fails(capsys, "search", "--max-macs", "1000")
    assert "--max-macs 1000" in line
    assert "534032" in line.replace(",", "")


@pytest.mark.usefixtures("profile_cache")
def test_impossible_latency_names_the_smallest(capsys: pytest.CaptureFixture[str],
                                               tmp_path: Path) -> None:
    line = fails(capsys, "search", "--max-latency-ms", "0.001", "--out", "run")
    assert "--max-latency-ms 0.001" in line
    assert "smallest reachable" in line
    assert not (tmp_path / "run").exists()


def test_missing_data_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nowhere does not exist" in fails(
        capsys, "train", "--data", "nowhere", "--out", "trained")
    assert not (tmp_path / "trained").exists()


def test_truncated_idx_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    header = np.array([0x803, 60, 28, 28], dtype=">u4").tobytes()
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + bytes(100)))
    line = fails(capsys, "train", "--data", ".", "--out", "trained")
    assert "train-images-idx3-ubyte.gz" in line
    assert "fetch the file again" in line


def test_training_does_not_overwrite_a_folder(capsys: pytest.CaptureFixture[str],
                                              tmp_path: Path) -> None:
    (tmp_path / "trained").mkdir()
    (tmp_path / "trained" / "precious.txt").write_text("mine")
    assert "no training to resume" in fails(capsys, "train", "--data", ".", "--out", "trained")


@pytest.mark.parametrize("name", ["weights.safetensors", "images.npz", "supernet.json"])
def test_corrupt_supernet_file(capsys: pytest.CaptureFixture[str], tmp_path: Path,
                               name: str) -> None:
    shutil.copytree(SHIPPED, tmp_path / "mine")
    damaged = bytearray((tmp_path / "mine" / name).read_bytes())
    damaged[0] ^= 0xFF
    (tmp_path / "mine" / name).write_bytes(damaged)
    assert name in fails(capsys, "search", "--supernet", "./mine")


def test_supernet_folder_without_weights(capsys: pytest.CaptureFixture[str],
                                         tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "mine")
    (tmp_path / "mine" / "weights.safetensors").unlink()
    assert "lacks weights.safetensors" in fails(capsys, "search", "--supernet", "./mine")


def test_supernet_of_a_newer_schema(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.copytree(SHIPPED, tmp_path / "mine")
    card = json.loads((tmp_path / "mine" / "supernet.json").read_text())
    (tmp_path / "mine" / "supernet.json").write_text(json.dumps({**card, "schema_version": 99}))
    assert "schema 99" in fails(capsys, "search", "--supernet", "./mine")


def test_export_of_an_unknown_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "no run folder" in fails(capsys, "export", str(tmp_path), "--digest", "0123456789ab")


def test_verify_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in fails(capsys, "verify", "nowhere")


@pytest.mark.usefixtures("profile_cache")
def test_unknown_profile(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere" in fails(capsys, "profile", "show", "nowhere")
