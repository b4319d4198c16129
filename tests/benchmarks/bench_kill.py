"""SIGKILL at random moments of search, train, profile and export, and what is there afterwards.

Each verb runs as a real process. It is killed several times in a row, half of the times at a
random moment and half of the times right before a random disk access that changes something
(opening for writing, renaming, removing), and started again as the documentation says. After each
kill nothing may be half there or lost; in the end everything must equal an uninterrupted run.

    python tests/benchmarks/bench_kill.py [KILLS_PER_VERB] [--no-report]
"""

import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _kill import Command, make_images, make_supernet, snapshot
from _report import write_report

from hardware_profiles.profile_file import read_profile
from nas.export.verify import verify_bundle
from nas.pipeline.compose import load_supernet
from nas.pipeline.run_dir import RunDir
from nas.search.ledger import Ledger, ledger_equal, read_ledger

SEED = 0
NO_REPORT = "--no-report"
KILLS = 7  # of each verb
IN_A_ROW = 3


@dataclass(frozen=True, slots=True)
class Subject:
    """One verb under test, in a folder that the chain of kills starts empty.

    Attributes:
        name: The verb.
        arguments: Folder → command line to start, or to go on with what is in the folder.
        cache: Where the verb finds and stores profiles.
        finished: Whether the folder holds all that the verb makes.
        check: (folder, what `check` gave before) → what must still be there; raises if anything is
            half there or lost.
        equal: Raises if two finished folders differ.
    """

    name: str
    arguments: Callable[[Path], list[str]]
    cache: Callable[[Path], Path]
    finished: Callable[[Path], bool]
    check: Callable[[Path, Any], Any]
    equal: Callable[[Path, Path], None]


def main() -> None:
    """Kills, compares, prints and writes the report."""
    options = [argument for argument in sys.argv[1:] if argument != NO_REPORT]
    kills = int(options[0]) if options else KILLS
    rng = np.random.default_rng(SEED)
    figures = {}
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        command = Command(root)
        make_supernet(root / "supernet")
        make_images(root / "images")
        must_succeed(command, search_arguments(root, root / "exported"))  # measures the profile
        for subject in subjects(root):
            figures[subject.name] = torment(subject, command, kills, rng)
            print(f"{subject.name}: {json.dumps(figures[subject.name])}")
    total = sum(found["kills"] for found in figures.values())
    print(f"{total} kills, nothing lost")
    if NO_REPORT not in sys.argv:
        print(write_report("kill", {"kills": total, "verbs": figures}, seed=SEED))


def torment(subject: Subject, command: Command, kills: int,
            rng: np.random.Generator) -> Mapping[str, Any]:
    """Kills a verb so many times, in rows, and compares each row's end with an unkilled run."""
    reference = new_folder(command.root, f"{subject.name}-reference")
    whole = command.run(subject.arguments(reference), cache=subject.cache(reference))
    expect(whole.code == 0 and subject.finished(reference), f"{subject.name}: {whole.stderr}")
    done = rows = 0
    where: list[dict[str, Any]] = []
    while done < kills:
        rows += 1
        folder = new_folder(command.root, f"{subject.name}-{rows}")
        cache, state, in_a_row = subject.cache(folder), None, 0
        while in_a_row < IN_A_ROW and not subject.finished(folder):
            by_access = bool(rng.random() < 0.5)
            after_s = float(rng.uniform()) * whole.work_s
            access = int(rng.integers(1, whole.accesses + 1))
            ran = command.run(subject.arguments(folder), cache=cache,
                              after_s=None if by_access else after_s, at_access=access * by_access)
            expect(ran.killed or ran.code == 0, f"{subject.name}: {ran.stderr}")
            state = subject.check(folder, state)
            if ran.killed:
                in_a_row += 1
                where.append({"before_access" if by_access else "after_s":
                              access if by_access else round(after_s, 2),
                              "files_there": len(list_all(folder)),
                              "trials_there": len(state or ())})
        done += in_a_row
        end = command.run(subject.arguments(folder), cache=cache)
        exists = end.code == 2 and subject.name == "export" and "exists" in end.stderr
        expect(end.code == 0 or exists, f"{subject.name}: {end.stderr}")
        subject.check(folder, state)
        subject.equal(reference, folder)
    return {"kills": done, "rows": rows, "uninterrupted_s": round(whole.work_s, 1),
            "disk_accesses": whole.accesses, "after_kill": where}


def subjects(root: Path) -> list[Subject]:
    """Returns the four verbs."""
    exported = root / "exported" / "run"
    front = json.loads((exported / "pareto.json").read_text())["pareto"]
    network = next(point["digest"] for point in reversed(front))

    def train(folder: Path) -> list[str]:
        return ["train", "--data", str(root / "images"), "--out", str(folder / "net"), "--epochs",
                "3", "--batch-size", "32", "--checkpoint-s", "0"]

    def export(folder: Path) -> list[str]:
        return ["export", str(exported), "--digest", network, "--out", str(folder / "bundle")]

    def profile(folder: Path) -> list[str]:
        del folder  # it goes into the cache
        return ["profile", "run", "--allow-contended", "--supernet", str(root / "supernet")]

    def shared(folder: Path) -> Path:
        del folder
        return root / "cache"

    return [
        Subject("search", lambda folder: search_arguments(root, folder), shared,
                lambda folder: (folder / "run" / "pareto.json").is_file(), check_search,
                equal_searches),
        Subject("train", train, shared,
                lambda folder: (folder / "net" / "supernet.json").is_file(), check_training,
                equal_trainings),
        Subject("export", export, shared, lambda folder: (folder / "bundle").is_dir(),
                check_export, equal_folders),
        Subject("profile", profile, lambda folder: folder,
                lambda folder: any(folder.glob("profiles/*.json")), check_profile, one_profile),
    ]


def search_arguments(root: Path, folder: Path) -> list[str]:
    """Returns the start of a search, or its resumption where there is a run folder."""
    if (folder / "run").exists():
        return ["search", "--resume", str(folder / "run")]
    return ["search", "--supernet", str(root / "supernet"), "--budget", "48", "--out",
            str(folder / "run")]


def check_search(folder: Path, state: Mapping[int, Any] | None) -> Mapping[int, Any]:
    """Every trial that was there is there, as it was; pareto.json and bundle are whole."""
    run = folder / "run"
    if not run.exists():
        expect(not state, "the run folder is gone")
        return {}
    RunDir.open(run)
    if (run / "best").exists():
        expect(verify_bundle(run / "best").ok, "a damaged bundle")
    if (run / "pareto.json").exists():
        json.loads((run / "pareto.json").read_text())
    if not (run / "study.journal").exists() or b"nas:identity" not in (
            run / "study.journal").read_bytes():
        expect(not state, "the journal is gone")
        return {}
    trials = {outcome.trial.id: outcome for outcome in ledger_of(run).outcomes()}
    lost = [number for number, outcome in (state or {}).items() if trials.get(number) != outcome]
    expect(not lost, f"trials {lost} are lost or changed")
    return trials


def equal_searches(reference: Path, found: Path) -> None:
    """Equal ledgers, fronts, counts and winners; the same files and nothing beside them."""
    a, b = reference / "run", found / "run"
    expect(ledger_equal(ledger_of(a), ledger_of(b)), "ledgers differ")
    payloads = [json.loads((run / "pareto.json").read_text()) for run in (a, b)]
    for key in ("pareto", "counts", "device", "space_size"):
        expect(payloads[0][key] == payloads[1][key], f"{key} of pareto.json differs")
    for key in ("digest", "test", "onnx_max_abs_diff"):
        expect(payloads[0]["best"][key] == payloads[1]["best"][key], f"best {key} differs")
    expect(verify_bundle(b / "best").ok, "the bundle does not verify")
    expect(list_all(reference) == list_all(found), f"files are {list_all(found)}")


def check_training(folder: Path, state: None) -> None:
    """A folder with a card loads."""
    del state
    if (folder / "net" / "supernet.json").exists():
        load_supernet(str(folder / "net"))


def equal_trainings(reference: Path, found: Path) -> None:
    """The supernet's files are the same to the bit, and there are no others."""
    a, b = snapshot(reference), snapshot(found)
    expect(a.keys() == b.keys(), f"files are {sorted(b)}")
    for name in ("net/weights.safetensors", "net/images.npz", "net/supernet.json"):
        expect(a[name] == b[name], f"{name} differs")


def check_export(folder: Path, state: None) -> None:
    """The bundle is whole or not there."""
    del state
    if (folder / "bundle").exists():
        expect(verify_bundle(folder / "bundle").ok, "a damaged bundle")


def equal_folders(reference: Path, found: Path) -> None:
    """All files are the same to the bit."""
    expect(snapshot(reference) == snapshot(found), "bundles differ")


def check_profile(folder: Path, state: None) -> None:
    """The profile is whole or not there. Its passes are beside it until then."""
    del state
    for path in folder.glob("profiles/*.json"):
        read_profile(path)


def one_profile(reference: Path, found: Path) -> None:
    """One whole profile and nothing beside it, under the name that it has without a kill."""
    check_profile(found, None)
    expect(list_all(found) == list_all(reference), f"files are {list_all(found)}")


def ledger_of(run_dir: Path) -> Ledger:
    """Returns the ledger of a run folder."""
    run, config, _ = RunDir.open(run_dir)
    storage, name = run.ledger(config)
    return read_ledger(storage, space=load_supernet(config.supernet).space, study_name=name,
                       objectives=config.objective_values())


def list_all(folder: Path) -> list[str]:
    """Returns the relative names of all files and folders, hidden ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def new_folder(root: Path, name: str) -> Path:
    """Makes a folder."""
    (root / name).mkdir()
    return root / name


def must_succeed(command: Command, arguments: list[str]) -> None:
    """Runs a command."""
    ran = command.run(arguments, cache=command.root / "cache")
    expect(ran.code == 0, ran.stderr)


def expect(condition: bool, message: str) -> None:
    """Ends the script where a promise is broken."""
    if not condition:
        sys.exit(f"BROKEN: {message}")


if __name__ == "__main__":
    main()
