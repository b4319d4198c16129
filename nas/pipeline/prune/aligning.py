"""A choice by multiply-adds or parameters, moved to aligned widths until it *measures* faster."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from nas.core.arch import Arch
from nas.core.errors import InputError
from nas.pipeline.events import Event, Watcher
from nas.pipeline.prune.measuring import measure_networks
from nas.pipeline.prune.work import Work
from supernets.tas.aligned import aligned
from supernets.tas.budget import Budget

MULTIPLES = (4, 8, 16)  # of channels: the blocks that runtimes work in
FASTER = 0.98  # of the unpruned latency; what is above may be noise


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A network that was measured, untrained, beside the unpruned one.

    Attributes:
        arch: Its architecture.
        aligned: The multiple that its widths were moved to; None: it is as the method chose it.
        share: Its latency as a part of the unpruned network's, both measured in turns.
    """

    arch: Arch
    aligned: int | None
    share: float


def tried_networks(work: Work, name: str, budget: Budget, arch: Arch,
                   unpruned: Callable[[], Path], watch: Watcher) -> list[Tried]:
    """Returns the networks that were measured: a method's choice, then aligned ones.

    The last one is clearly faster than the unpruned network, or all there are have been measured.

    Args:
        work: What is pruned.
        name: Of the method.
        budget: To be met by all of them.
        arch: The method's choice.
        unpruned: Gives the unpruned network's ONNX file.
        watch: Is told of each.

    Raises:
        ExportError: A network that has no ONNX form.
        ProfileError: ONNX Runtime cannot run one of them.
        OSError: A file cannot be read or written.
    """
    tried: list[Tried] = []
    for multiple, candidate in _candidates(work, budget, arch):
        if any(candidate == one.arch for one in tried):
            continue
        share = _share(work, candidate, unpruned, seed=work.request.seed + len(tried))
        tried.append(Tried(arch=candidate, aligned=multiple, share=share))
        watch(Event(f"choose {name}", 0, 1, f"{_widths(multiple)}: measured {share:.1%} of the "
                                            "unpruned latency"))
        if share <= FASTER:
            break
    return tried


def _candidates(work: Work, budget: Budget, arch: Arch) -> Iterator[tuple[int | None, Arch]]:
    yield None, arch
    for multiple in MULTIPLES:
        if multiple > work.config.multiple:
            try:
                yield multiple, aligned(budget, arch, multiple=multiple,
                                        widths=work.supernet.elastic.choices)
            except InputError:
                return  # larger multiples reach less


def _share(work: Work, arch: Arch, unpruned: Callable[[], Path], *, seed: int) -> float:
    found = measure_networks({"pruned": work.supernet.extract(arch)}, work.opened.task,
                             threads=work.request.threads, seed=seed,
                             beside={"unpruned": unpruned()})
    return found["pruned"].latency_ms / found["unpruned"].latency_ms


def _widths(multiple: int | None) -> str:
    return "widths as chosen" if multiple is None else f"widths in multiples of {multiple}"
