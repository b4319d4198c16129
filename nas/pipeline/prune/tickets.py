"""Layer tickets as a method of `nas prune`: a space in which blocks go by their scores."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from nas.core.protocols import SaliencyProxy, Task
from nas.core.rng import derive_rng
from nas.pipeline.events import Watcher
from nas.pipeline.proxies import load_proxy
from nas.pipeline.prune.choosing import Pruner
from nas.pipeline.prune.work import Work
from supernets.tas.budget import Budget
from supernets.tas.methods.layer_tickets import LayerTickets
from supernets.tas.subject import Subject
from supernets.timm.create import create_model
from supernets.timm.supernet import TimmSupernet

PROXY = "snip"


def scored_space(work: Work) -> Work:
    """Returns the same work in a space that drops the least important blocks first.

    Blocks are scored in the network before it is trained (arXiv 2301.10835, section 3).

    Raises:
        InputError: No block of the network can go.
        EvaluationError: A score that is not finite.
    """
    facts = work.supernet.elastic.facts
    config = work.config.model_copy(update={
        "drop_order": _tickets(work).order(_untrained(work), facts), "depth_step": 1})
    supernet = TimmSupernet(work.supernet.model, config.elastic(facts), work.opened.task).eval()
    return replace(work, config=config, supernet=supernet)


def layer_tickets(work: Work, budget: Budget, *, name: str, watch: Watcher) -> Pruner:
    """Returns the method, for the space of `scored_space`."""
    del budget, name, watch
    untrained = TimmSupernet(_untrained(work), work.supernet.elastic, work.opened.task)
    return Pruner(choose=lambda asked: _tickets(work)(Subject(
        supernet=untrained, budget=asked, seed=work.request.seed)))


def _tickets(work: Work) -> LayerTickets:
    proxy = cast(SaliencyProxy, load_proxy(PROXY))
    return LayerTickets(scores=partial(_scores, proxy, work.opened.task, work.request.seed))


def _scores(proxy: SaliencyProxy, task: Task, seed: int, model: nn.Module
            ) -> Mapping[str, Tensor]:
    batch = next(iter(task.batches("train_calib")))
    return proxy.scores(model, batch, loss=task.loss, rng=derive_rng(seed, "layer tickets"))


def _untrained(work: Work) -> nn.Module:
    config = work.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.request.seed)
        model = create_model(config.model, num_classes=config.classes, in_chans=config.channels,
                             img_size=config.side)
    return model.to(device=work.opened.task.device).to(memory_format=torch.channels_last)
