"""All parts of a subnet's generation, with examples from a real one, for export.

Legend: as in `supernets.var.steps`; B images, L tokens of one.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nas.core.arch import Arch
from nas.core.generation import GeneratorPart, GeneratorParts, Sample
from supernets.var.generate import generate
from supernets.var.sampling import Sampling
from supernets.var.space import DepthPlan
from supernets.var.steps import FirstStep, ImageStep, ScaleStep
from supernets.var.supernet import VarSupernet, token_targets
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_config import check_pair

IMAGES, SEED, GUIDANCE = 3, 0, 1.5
ROWS = "rows"
_FREE = {"past_keys": {2: ROWS}, "past_values": {2: ROWS}}  # of all others the first

_Module = TypeVar("_Module", bound=nn.Module)


@torch.no_grad()
def generator_parts(net: VarSupernet, vae: MultiScaleVqvae, arch: Arch, *,
                    labels: Sequence[str] = ()) -> GeneratorParts:
    """Returns the parts of a subnet's generation; they share one copy of the weights, in fp32.

    Args:
        net: The transformer; not changed.
        vae: Its VQVAE; not changed.
        arch: The subnet.
        labels: Names of the classes, or none.

    Raises:
        ArchError: An architecture of another space.
        SpaceError: A VQVAE with other codes.
    """
    config = net.config
    check_pair(config, vae.config)
    plan = net.plan(arch)
    net, vae = _own(net), _own(vae)
    labels_B = torch.arange(IMAGES) % config.classes
    guidance = GUIDANCE if config.cond_drop else 0.0
    made = generate(net, vae, labels_B, arch, sampling=Sampling(guidance=guidance), seed=SEED)
    rows = torch.cat((labels_B, torch.full_like(labels_B, config.classes))[:2 if guidance else 1])
    tokens = [tokens_BT.repeat(len(rows) // IMAGES, 1) for tokens_BT in made.tokens]
    return GeneratorParts(
        parts=tuple(_parts(net, vae, plan, rows, tokens)), facts=_facts(net, plan, labels),
        sample=Sample(labels=labels_B.numpy(), guidance=guidance, seed=SEED,
                      tokens=token_targets(made.tokens).numpy(), images=made.images.numpy()))


def _own(module: _Module) -> _Module:
    return copy.deepcopy(module).float().cpu().eval()


def _facts(net: VarSupernet, plan: DepthPlan, labels: Sequence[str]) -> Mapping[str, Any]:
    config = net.config
    return {"name": config.name, "patch_nums": list(config.patch_nums), "classes": config.classes,
            "vocabulary": config.vocabulary, "code_dim": config.code_dim, "heads": config.heads,
            "head_dim": config.head_dim, "layers": [list(layers) for layers in plan.layers],
            "guided": config.cond_drop > 0, "labels": list(labels)}


def _parts(net: VarSupernet, vae: MultiScaleVqvae, plan: DepthPlan, labels_R: Tensor,
           tokens: Sequence[Tensor]) -> Iterator[GeneratorPart]:
    # Each part's example is what the parts before it have given for the sample's tokens.
    first = FirstStep(net, plan.layers[0]).eval()
    yield GeneratorPart(name="scale1", module=first, inputs={"labels": labels_R},
                        outputs=("logits", "keys", "values"), free={"labels": {0: ROWS}})
    _, keys, values = first(labels_R)
    running, f_hat = plan.layers[0], vae.quantize.blank(len(labels_R))
    for scale in range(1, len(plan.layers)):
        kept = [running.index(layer) for layer in plan.layers[scale]]
        running, keys, values = plan.layers[scale], keys[:, kept], values[:, kept]
        step = ScaleStep(net, vae.quantize, scale, running).eval()
        inputs = {"tokens": tokens[scale - 1], "past_f_hat": f_hat, "labels": labels_R,
                  "past_keys": keys, "past_values": values}
        yield GeneratorPart(
            name=f"scale{scale + 1}", module=step, inputs=inputs,
            outputs=("logits", "f_hat", "keys", "values"),
            free={name: _FREE.get(name, {0: ROWS}) for name in inputs})
        _, f_hat, new_keys, new_values = step(*inputs.values())
        keys, values = torch.cat((keys, new_keys)), torch.cat((values, new_values))
    yield GeneratorPart(name="decoder", module=ImageStep(vae).eval(),
                        inputs={"tokens": tokens[-1], "past_f_hat": f_hat}, outputs=("image",),
                        free={"tokens": {0: ROWS}, "past_f_hat": {0: ROWS}})
