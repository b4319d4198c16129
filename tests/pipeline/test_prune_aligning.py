"""Networks within a budget of multiply-adds or parameters are not slower than the unpruned one."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pruning import faster_or_not, prune_request

from nas.core.arch import Arch
from nas.export.verify import verify_bundle
from nas.pipeline.events import Event
from nas.pipeline.prune.aligning import MULTIPLES
from nas.pipeline.prune.choosing import Choice
from nas.pipeline.prune.folder import PruneDir, read_json
from nas.pipeline.prune.latency import aligned_line
from nas.pipeline.prune.page import prune_page
from nas.pipeline.prune.run import BudgetMissed, require_met
from nas.pipeline.prune.session import Session
from nas.pipeline.prune.work import Work, prepare

CIFAR: dict[str, Any] = {"model": "timm:cifar_resnet20_half", "image_size": 16, "multiple": None,
                         "method": "uniform", "kd": False}
Shares = Callable[..., None]


@pytest.fixture(scope="module")
def work(image_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A CIFAR ResNet, trained; not to be changed."""
    out = tmp_path_factory.mktemp("unpruned") / "net"
    return prepare(prune_request(image_folder, out, **CIFAR), PruneDir(out), lambda _: None)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Shares:
    """Sets what networks measure, one after the other, as parts of the unpruned latency."""
    def set_them(*shares: float) -> None:
        left: Iterator[float] = iter(shares)
        monkeypatch.setattr("nas.pipeline.prune.aligning._share",
                            lambda *_, **__: next(left))

    return set_them


def choose(work: Work, folder: Path, events: list[Event] | None = None) -> Choice:
    here = replace(work, folder=PruneDir(folder))
    return Session(work=here, watch=[].append if events is None else events.append
                   ).choice(work.request.method)


def widths(work: Work, arch: Arch) -> dict[str, int]:
    """The widths that matter."""
    space, choices = work.supernet.space, work.supernet.elastic.choices
    live = space.active(space.encode([arch]))[0]
    return {name: int(arch.as_dict()[name]) for name in choices if live[space.positions[name]]}


def is_aligned(work: Work, arch: Arch, multiple: int) -> bool:
    return all(size % multiple == 0 or size == work.supernet.elastic.choices[name][-1]
               for name, size in widths(work, arch).items())


def test_a_choice_that_is_faster_stays(work: Work, measured: Shares, tmp_path: Path) -> None:
    measured(0.9)
    found = choose(work, tmp_path)
    assert (found.aligned, found.tries, found.shares) == (None, 1, ((None, 0.9),))
    assert not is_aligned(work, found.arch, MULTIPLES[0])


def test_one_that_is_not_gets_the_first_widths_that_are(work: Work, measured: Shares,
                                                        tmp_path: Path) -> None:
    measured(1.2, 0.99, 0.9)
    events: list[Event] = []
    found = choose(work, tmp_path, events)
    assert (found.aligned, found.tries) == (8, 3)
    assert found.shares == ((None, 1.2), (4, 0.99), (8, 0.9))
    assert is_aligned(work, found.arch, 8)
    assert 0.9 * found.limit <= found.predicted <= found.limit
    assert "widths in multiples of 8: measured 90.0% of the unpruned latency" in [
        event.note for event in events]
    kept = read_json(PruneDir(tmp_path).choice("uniform"))
    assert kept is not None
    assert kept["aligned"] == 8
    assert choose(work, tmp_path) == found  # from its file: nothing is left to measure


def test_where_none_is_faster_the_fastest_is_taken(work: Work, measured: Shares, tmp_path: Path
                                                   ) -> None:
    measured(1.3, 0.99, 1.1, 1.2)
    found = choose(work, tmp_path)
    assert (found.aligned, found.tries) == (4, 4)
    measured(1.0, 1.1, 1.2, 1.3)
    found = choose(work, tmp_path / "other")
    assert found.aligned is None
    assert not is_aligned(work, found.arch, 4)


def test_a_multiple_that_was_asked_for_is_the_users(work: Work, measured: Shares, tmp_path: Path
                                                    ) -> None:
    measured()  # nothing may be measured
    asked = replace(work, request=work.request.model_copy(update={"multiple": 1}))
    found = choose(asked, tmp_path)
    assert (found.aligned, found.tries, found.shares) == (None, 0, ())


@pytest.mark.slow
def test_networks_are_measured_beside_the_unpruned_one(work: Work, tmp_path: Path) -> None:
    found = choose(work, tmp_path)
    assert found.tries == len(found.shares) <= 1 + len(MULTIPLES)
    assert all(share > 0 for _, share in found.shares)
    assert found.aligned in {multiple for multiple, _ in found.shares}


def payload(before: float, after: float, latency: Any = None) -> dict[str, Any]:
    return {"method": "random", "bundle": "x/random/kd", "latency": latency,
            "before": {"latency_ms": before}, "after": {"latency_ms": after},
            "slower": after > before}


def test_a_result_that_is_slower_is_an_error_that_names_the_remedy() -> None:
    require_met([payload(2.0, 1.9)], None)
    with pytest.raises(BudgetMissed, match=r"slower than before \(random: measured 2\.1 ms, "
                                           r"unpruned 2 ms\); bound --max-latency-ms, or give "
                                           r"another --multiple") as caught:
        require_met([payload(2.0, 1.9), payload(2.0, 2.1)], "the result")
    assert "\n" not in str(caught.value)
    assert (caught.value.result, caught.value.exit_code) == ("the result", 1)
    require_met([payload(2.0, 2.1, {"met": True})], None)  # as was asked for


@pytest.mark.slow
def test_shared_weights_are_inherited_by_aligned_widths(image_folder: Path, measured: Shares,
                                                        tmp_path: Path) -> None:
    measured(1.2, 0.9)
    found = faster_or_not(prune_request(image_folder, tmp_path / "net",
                                        **{**CIFAR, "method": "tas"}))
    assert found["aligned"] == 4
    widths = {row["layer"]: row["after"]["out"] for row in found["layers"] if row["after"]}
    assert all(width % 4 == 0 for layer, width in widths.items() if layer != "fc")
    assert found["after"]["macs"] <= 0.6 * found["before"]["macs"]
    assert verify_bundle(Path(found["bundle"])).ok
    assert aligned_line(4) in prune_page(found)
