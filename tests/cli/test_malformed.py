"""More than 100 malformed inputs: each ends in one line and exit code 1 or 2, never a traceback."""

import gzip
import json
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import main
from nas.core.arch import Arch
from nas.core.errors import ArchError
from nas.core.files import sha256
from nas.pipeline.search import SearchResult
from supernets.mobilenet.config import MobileNetConfig, build_space

pytestmark = pytest.mark.usefixtures("profile_cache")

Damage = Callable[[bytes], bytes]


def one_line(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Runs a command that must fail; returns its one line."""
    assert main(list(arguments)) in (1, 2)
    error = capsys.readouterr().err
    *progress, line = (line for line in error.splitlines() if line.strip())
    assert line.startswith("nas: ")
    assert all("━" in bar for bar in progress), error
    assert "this is a bug" not in line
    return line


@dataclass
class Kit:
    """Copies of good files, to be damaged."""

    root: Path
    tiny_folder: Path
    finished: Path

    def supernet(self) -> Path:
        return shutil.copytree(self.tiny_folder, self.root / "net")

    def run(self) -> Path:
        return shutil.copytree(self.finished, self.root / "run")


@pytest.fixture
def kit(tmp_path: Path, tiny_folder: Path, finished: SearchResult,
        monkeypatch: pytest.MonkeyPatch) -> Kit:
    monkeypatch.chdir(tmp_path)
    return Kit(tmp_path, tiny_folder, finished.run_dir)


def change(path: Path, damage: Damage) -> None:
    path.write_bytes(damage(path.read_bytes()))


# Damages of bytes ----------------------------------------------------------------------------


def random_damages(name: str, count: int) -> list[Any]:
    """Flips, cuts, inserts and empties, drawn from generators that the name seeds."""
    def flip(data: bytes, rng: random.Random) -> bytes:
        place = rng.randrange(len(data))
        return data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1:]

    def cut(data: bytes, rng: random.Random) -> bytes:
        return data[:rng.randrange(1, len(data))]

    def insert(data: bytes, rng: random.Random) -> bytes:
        place = rng.randrange(len(data))
        return data[:place] + rng.randbytes(9) + data[place:]

    def empty(data: bytes, rng: random.Random) -> bytes:
        del data, rng
        return b""

    def seeded(number: int, damage: Callable[[bytes, random.Random], bytes]) -> Any:
        return pytest.param(lambda data: damage(data, random.Random(f"{name} {number}")),
                            id=f"{damage.__name__}{number}")

    return [seeded(number, (flip, cut, insert, empty)[number % 4]) for number in range(count)]


# Damages of JSON -----------------------------------------------------------------------------


def json_damages(name: str, count: int) -> list[Any]:
    """Puts something that is allowed nowhere in the place of one thing in a JSON document.

    Which thing may vary with the document, such as the warnings of a measured profile.
    """
    def damage(number: int) -> Damage:
        def apply(data: bytes) -> bytes:
            payload, rng = json.loads(data), random.Random(f"{name} {number}")
            owner, key = rng.choice(list(places(payload)))
            owner[key] = {"?": [None]} if number % 2 else [[None]]
            return json.dumps(payload).encode()

        return apply

    return [pytest.param(damage(number), id=f"json{number}") for number in range(count)]


def places(payload: Any) -> Iterator[tuple[Any, Any]]:
    inside = payload.items() if isinstance(payload, dict) else enumerate(payload)
    for key, value in list(inside):
        yield payload, key
        if isinstance(value, dict | list):
            yield from places(value)


# Options -------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [
    "serach", "search --budget", "search --budget 1e3", "search --budget -1",
    "search --budget 99999999999999999999999x", "search --seed 1.5", "search --seed -1",
    "search --threads 0", "search --threads two", "search --max-latency-ms nan",
    "search --max-latency-ms inf", "search --max-latency-ms 0", "search --max-params 0",
    "search --max-macs -5", "search --max-memory 1.5", "search --objectives ,",
    "search --objectives error,,params", "search --objectives accuracy",
    "search --searcher :", "search --searcher json:", "search --searcher :loads",
    "search --searcher json:loads", "search --executor os:getcwd", "search --supernet os:getcwd",
    "search --supernet json.:x", "search --supernet ..:x", "search --supernet /dev/null",
    "search --supernet ''", "search --supernet .", "search --device ''", "search --out ''",
    "search --config /", "search --config ''", "search --resume /dev/null",
    "search --resume ''", "search --storage nonsense://x --supernet {net}",
    "search --storage sqlite:////nowhere/x.db --supernet {net}", "search extra",
    "train", "train --data .", "train --data . --out /dev/null", "train --data /dev/null --out new",
    "train --data . --out new --epochs 0", "train --data . --out new --batch-size 1",
    "train --data . --out new --learning-rate nan", "train --data . --out new --learning-rate -1",
    "train --data . --out new --checkpoint-s -1", "train --data . --out new --supernet ?",
    "search --proxy gradsing", "search --proxy ,", "search --proxy os:getcwd --supernet {net}",
    "search --proxy params,params --supernet {net}", "search --surrogate --objectives params",
    "search --precision int4", "search --batch 0", "rank --proxy ,", "rank --proxy json:loads",
    "rank --n 2", "rank --batch 0", "rank --weights warm", "rank --seed -1",
    "rank --model resnet18", "rank --model timm:resnet_18",
    "rank --model timm:test_vit --against validation",
    "rank --against nowhere.csv --supernet {net} --n 4 --batch 8", "rank --out /dev/null",
    "profile", "profile run --threads 0", "profile run --supernet no", "profile show",
    "profile show ''", "profile show /", "profile show ../../etc/passwd",
    "export", "export . --digest x", "export {run} --digest ''", "export {run} --digest ../x",
    "export {run}", "export {run} --features --out-indices 9", "export {run} --precision int4",
    "export {run} --precision int8 --calibration /dev/null", "finetune", "finetune {run}",
    "finetune . --epochs 1", "finetune {run} --epochs 0",
    "finetune {run} --epochs 1 --data nowhere", "finetune {run} --epochs 1 --learning-rate nan",
    "prune", "prune --model timm:test_resnet --data . --out new",
    "prune --model resnet18 --data . --macs 60%", "prune --model timm:no --data . --macs 60%",
    "prune --model timm:test_resnet --data . --macs 60% --out /dev/null",
    "prune --model timm:test_resnet --data . --macs 60% --out new",
    "prune --model timm:test_resnet --data nowhere --macs 60% --out new",
    "prune --model timm:test_resnet --data . --macs -1", "prune --data . --macs 60%",
    "prune --model timm:test_resnet --data . --macs 101%",
    "prune --model timm:test_resnet --data . --macs 60% --params 1 --out new",
    "prune --model timm:test_resnet --data . --macs 60% --method json:loads --out new",
    "prune --model timm:test_resnet --data . --macs 60% --method :x --out new",
    "prune --model timm:test_resnet --data . --macs 60% --compare , --out new",
    "prune --model timm:test_resnet --data . --macs 60% --epochs 0 --out new",
    "prune --model timm:test_resnet --data . --macs 60% --weights /dev/null --out new",
    "prune --model timm:test_resnet --data . --macs 60% --crop-scale x --out new",
    "verify", "verify ''", "verify /dev/null", "verify .", "list", "list models",
])
def test_options(kit: Kit, capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    filled = arguments.format(net=kit.tiny_folder, run=kit.finished).split()
    one_line(capsys, *("" if part == "''" else part for part in filled))


CONFIGS = [
    b"budget 3", b"[budget]\nx = 1", b"budget = '3x'", b"budget = 0", b"budget = true\nseed = []",
    b"seed = 1.5", b"objectives = 'error'", b"objectives = [1]", b"objectives = []",
    b"schema_version = 9", b"\xff\xfe", b"budget = 1\nbudget = 2", b"max_latency_ms = nan",
    b"supernet = 3", b"out = 5", b"supernet = \"\\u0000\"", b"out = \"a\\u0000b\"",
]


@pytest.mark.parametrize("text", CONFIGS)
def test_config_file(kit: Kit, capsys: pytest.CaptureFixture[str], text: bytes) -> None:
    (kit.root / "my.toml").write_bytes(text)
    one_line(capsys, "search", "--config", "my.toml")


# Run folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", CONFIGS)
def test_config_of_a_run(kit: Kit, capsys: pytest.CaptureFixture[str], text: bytes) -> None:
    run = kit.run()
    change(run / "config.toml", lambda data: text + b"\n" + data)
    assert "config.toml" in one_line(capsys, "search", "--resume", "run")


@pytest.mark.parametrize(("old", "new"), [
    ("budget = 14", "budget = 15"), ("seed = 0", "seed = 1"), ('"linas"', '"random"'),
    ("threads = 1", "threads = 2"), ('"latency_ms"', '"params"'),
    ("budget = 14", "budget = 14\nmax_params = 6000")])
def test_a_run_with_other_options_says_which(kit: Kit, capsys: pytest.CaptureFixture[str],
                                             old: str, new: str) -> None:
    run = kit.run()
    text = (run / "config.toml").read_text()
    assert old in text
    (run / "config.toml").write_text(text.replace(old, new))
    option = new.split("\n")[-1].split(" =")[0].strip('"')
    line = one_line(capsys, "search", "--resume", "run")
    assert {"random": "searcher", "params": "objectives"}.get(option, option) in line


@pytest.mark.parametrize("damage", json_damages("profile of a run", 6))
def test_profile_of_a_run(kit: Kit, capsys: pytest.CaptureFixture[str], damage: Damage) -> None:
    change(kit.run() / "profile.json", damage)
    assert "profile" in one_line(capsys, "search", "--resume", "run")


@pytest.mark.parametrize(("field", "value"), [
    ("generator", "0" * 16), ("space", "other/1"), ("version", "1.0.0"), ("id", "pi")])
def test_profile_of_something_else(kit: Kit, capsys: pytest.CaptureFixture[str], field: str,
                                   value: str) -> None:
    path = kit.run() / "profile.json"
    payload = json.loads(path.read_text())
    owner = {"version": payload["runtime"], "id": payload["device"]}.get(field, payload)
    owner[field] = value
    path.write_text(json.dumps(payload))
    line = one_line(capsys, "search", "--resume", "run")
    assert f"{'device' if field == 'id' else field} is {value} there" in line


def test_profile_with_other_figures(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    path = kit.run() / "profile.json"
    payload = json.loads(path.read_text())
    payload["calibration"]["coefficients"]["constant"] *= 2
    path.write_text(json.dumps(payload))
    assert "of another search: profile is" in one_line(capsys, "search", "--resume", "run")


@pytest.mark.parametrize("name", ["config.toml", "profile.json", "best/manifest.json"])
def test_run_without(kit: Kit, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (kit.run() / name).unlink()
    assert name.split("/")[0] in one_line(capsys, "search", "--resume", "run")


def test_journal_that_is_a_folder(kit: Kit, capsys: pytest.CaptureFixture[str]) -> None:
    (kit.run() / "study.journal").unlink()
    (kit.root / "run" / "study.journal").mkdir()
    assert "study.journal" in one_line(capsys, "search", "--resume", "run")
    assert "study.journal" in one_line(capsys, "export", "run", "--digest", "0" * 12)


def journal_damages() -> list[Any]:
    # What a random byte changes may be a time stamp, so the damages are chosen.
    def last_trial(lines: list[bytes]) -> int:
        # Behind it stands that nobody is at work on the journal any more.
        return max(number for number, line in enumerate(lines) if b'"nas:trial_id"' in line)

    def trial(old: str, new: str) -> Damage:
        def apply(data: bytes) -> bytes:
            lines = data.splitlines(keepends=True)
            number = last_trial(lines)
            assert old.encode() in lines[number], lines[number]
            lines[number] = lines[number].replace(old.encode(), new.encode())
            return b"".join(lines)

        return apply

    def twice(data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        return data + lines[last_trial(lines)]

    damages: dict[str, Damage] = {
        "not-a-journal": lambda data: b"PNG" + data,
        "zeros": lambda data: data[:900] + bytes(900) + data[1800:],
        "line-missing": lambda data: b"".join(data.splitlines(keepends=True)[1:]),
        "trial-twice": twice,
        "half-line-in-the-middle": lambda data: data[:3000] + b"\n" + data[3300:],
        "other-space": lambda data: data.replace(b"mobilenet-tiny/1", b"mobilenet-huge/1"),
        "digest": trial('"nas:digest":"', '"nas:digest":"0'),
        "no-digest": trial('"nas:digest"', '"nas:dogest"'),
        "no-arch": trial('"nas:arch"', '"nas:orch"'),
        "no-metrics": trial('"nas:metrics"', '"nas:matrics"'),
        "metrics-that-are-text": trial('"nas:metrics":{', '"nas:metrics":{"note":"low",'),
        "metrics-of-another": trial('"nas:metrics":{"error":', '"nas:metrics":{"error":1'),
        "values": trial('"values":[', '"values":[1'),
        "batch": trial('"nas:batch":', '"nas:batch":7,"x":'),
        "trial-id": trial('"nas:trial_id":', '"nas:trial_id":"x","y":'),
        "list": lambda data: data + b"[]\n",
        "number": lambda data: data + b"7\n",
        "unknown-operation": lambda data: data + b'{"op_code":99,"worker_id":"x"}\n',
    }
    return [pytest.param(damage, id=name) for name, damage in damages.items()]


@pytest.mark.parametrize("damage", journal_damages())
def test_journal(kit: Kit, capsys: pytest.CaptureFixture[str], damage: Damage) -> None:
    path = kit.run() / "study.journal"
    change(path, damage)
    assert "study.journal" in one_line(capsys, "search", "--resume", "run")


# Bundles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["arch.json", "model.onnx", "model.safetensors", "manifest.json",
                                  "reference.safetensors"])
@pytest.mark.parametrize("damage", random_damages("bundle", 4))
def test_bundle(kit: Kit, capsys: pytest.CaptureFixture[str], name: str, damage: Damage) -> None:
    shutil.copytree(kit.finished / "best", kit.root / "best")
    change(kit.root / "best" / name, damage)
    assert name in one_line(capsys, "verify", "best")


@pytest.mark.parametrize("name", ["arch.json", "model.onnx", "model.safetensors", "manifest.json",
                                  "reference.safetensors"])
def test_bundle_without(kit: Kit, capsys: pytest.CaptureFixture[str], name: str) -> None:
    shutil.copytree(kit.finished / "best", kit.root / "best")
    (kit.root / "best" / name).unlink()
    assert name in one_line(capsys, "verify", "best")


# Profiles ------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [
    *json_damages("profile", 10), *random_damages("profile", 4)[1:]])  # a flip may be a digit
def test_profile(kit: Kit, capsys: pytest.CaptureFixture[str], damage: Damage) -> None:
    path = kit.root / "host.json"
    shutil.copy(kit.finished / "profile.json", path)
    change(path, damage)
    one_line(capsys, "profile", "show", "host.json")


# Supernet folders ----------------------------------------------------------------------------


@pytest.mark.parametrize(("where", "value"), [
    ("schema_version", 2), ("schema_version", None), ("family", "resnet"), ("family", None),
    ("config", []), ("config.name", 3), ("config.depth", 3), ("config.stages", []),
    ("config.stages.0", {}), ("config.stages.0.widths", [12, 8]), ("config.stages.1.stride", 3),
    ("config.stages.1.se_ratio", "half"), ("config.stem_width", 10**12), ("config.stem_width", 9),
    ("config.input_shape", [1, 16]), ("task.kind", "speech"), ("task.labels", ["a"]),
    ("task.labels.0", 5), ("task.std", 0), ("task.mean", None), ("sha256", {}),
    ("sha256", {"../x": "0"}), ("provenance", None)])
def test_supernet_card(kit: Kit, capsys: pytest.CaptureFixture[str], where: str,
                       value: Any) -> None:
    path = kit.supernet() / "supernet.json"
    payload = owner = json.loads(path.read_text())
    *parents, key = (int(part) if part.isdigit() else part for part in where.split("."))
    for parent in parents:
        owner = owner[parent]
    owner[key] = value
    path.write_text(json.dumps(payload))
    assert "net" in one_line(capsys, "search", "--supernet", "./net")


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"null", b"[" * 100_000, b"\xff"])
def test_supernet_card_of_another_form(kit: Kit, capsys: pytest.CaptureFixture[str],
                                       text: bytes) -> None:
    (kit.supernet() / "supernet.json").write_bytes(text)
    assert "supernet.json" in one_line(capsys, "search", "--supernet", "./net")


@pytest.mark.parametrize("name", ["weights.safetensors", "images.npz"])
@pytest.mark.parametrize("hashed", [False, True], ids=["other-hash", "own-hash"])
@pytest.mark.parametrize("damage", random_damages("supernet", 4)[1:])  # a flip may be a weight
def test_supernet_data(kit: Kit, capsys: pytest.CaptureFixture[str], name: str, hashed: bool,
                       damage: Damage) -> None:
    net = kit.supernet()
    change(net / name, damage)
    if hashed:
        card = json.loads((net / "supernet.json").read_text())
        card["sha256"][name] = sha256((net / name).read_bytes())
        (net / "supernet.json").write_text(json.dumps(card))
    assert name in one_line(capsys, "search", "--supernet", "./net")


# Image files ---------------------------------------------------------------------------------

HEADER = struct.pack(">4I", 0x803, 8, 16, 16)
LABELS = struct.pack(">2I", 0x801, 8) + bytes([0, 1] * 4)


@pytest.mark.parametrize(("images", "labels"), [
    (b"", LABELS), (b"\x00", LABELS), (HEADER, LABELS), (HEADER + bytes(2047), LABELS),
    (HEADER + bytes(2049), LABELS), (b"\x01" + HEADER[1:] + bytes(2048), LABELS),
    (struct.pack(">4I", 0xD03, 8, 16, 16) + bytes(2048), LABELS),
    (struct.pack(">3I", 0x802, 8, 16) + bytes(128), LABELS),
    (struct.pack(">4I", 0x803, 2**32 - 1, 2**32 - 1, 2**32 - 1), LABELS),
    (struct.pack(">4I", 0x803, 0, 16, 16), struct.pack(">2I", 0x801, 0)),
    (struct.pack(">4I", 0x803, 8, 0, 0), LABELS),
    (HEADER + bytes(2048), struct.pack(">2I", 0x801, 7) + bytes(7)),
    (HEADER + bytes(2048), struct.pack(">2I", 0x801, 8) + bytes(7)),
    (HEADER + bytes(2048), LABELS), (struct.pack(">4I", 0x803, 8, 2, 2) + bytes(32), LABELS),
    (gzip.compress(HEADER + bytes(2048), mtime=0), LABELS),
])
def test_idx_files(kit: Kit, capsys: pytest.CaptureFixture[str], images: bytes,
                   labels: bytes) -> None:
    for prefix in ("train", "t10k"):
        (kit.root / f"{prefix}-images-idx3-ubyte").write_bytes(images)
        (kit.root / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    one_line(capsys, "train", "--data", ".", "--out", "new", "--epochs", "1")


@pytest.mark.parametrize("damage", random_damages("gzip", 4))
def test_zipped_idx_file(kit: Kit, capsys: pytest.CaptureFixture[str], damage: Damage) -> None:
    content = HEADER + random.Random(0).randbytes(2048)
    (kit.root / "train-images-idx3-ubyte.gz").write_bytes(damage(gzip.compress(content, mtime=0)))
    (kit.root / "train-labels-idx1-ubyte").write_bytes(LABELS)
    one_line(capsys, "train", "--data", ".", "--out", "new")


@pytest.mark.parametrize("names", [b"\xff\xff", b"", b"one\n" * 3])
def test_label_names(kit: Kit, capsys: pytest.CaptureFixture[str], names: bytes) -> None:
    for prefix in ("train", "t10k"):
        (kit.root / f"{prefix}-images-idx3-ubyte").write_bytes(
            HEADER + np.arange(2048, dtype=np.uint8).tobytes())
        (kit.root / f"{prefix}-labels-idx1-ubyte").write_bytes(LABELS)
    (kit.root / "labels.txt").write_bytes(names)
    assert "labels.txt" in one_line(capsys, "train", "--data", ".", "--out", "new")


# Architectures -------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [
    *json_damages("arch", 12), *random_damages("arch", 4)])
def test_architecture(tiny_config: MobileNetConfig, damage: Damage) -> None:
    space = build_space(tiny_config)
    text = space.extreme(largest=True).to_json().encode()
    with pytest.raises(ArchError) as caught:
        Arch.from_json(damage(text).decode("latin-1"), space=space)
    assert "\n" not in str(caught.value)
