"""The blocks of an elastic HuBERT, traced from the parts of its plain modules.

The convolutions in front are one block; the projection with the positional convolution is one for
each width; a layer is one for each width, heads and FFN units. All depend on the length of the
clip, attention by its square.
"""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor, nn

from nas.core.blocks import Block, BlockGraph, keyed
from nas.core.costs import node_params
from nas.core.errors import InputError
from nas.core.space import GeneSpace
from nas.core.vocabulary import Slot, Vocabulary
from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.plain import EncoderLayer, PlainHubert
from supernets.hubert.space import LayerPlan, SubnetPlan, build_space
from supernets.tasks.waves import clip_samples
from supernets.tracing import trace_block, trace_segments


def build_vocabulary(config: ElasticHubertConfig, space: GeneSpace, *,
                     samples: int) -> Vocabulary:
    """Returns every distinct block for clips of a length, and the map from codes to them.

    Raises:
        InputError: The clip is shorter than the receptive field.
    """
    frames = config.frames(samples)
    if frames < 1:
        raise InputError(f"clips of {samples} samples give no frame; {config.receptive_field} give "
                         "one")

    @cache
    def layer(embed: int, heads: int, units: int) -> Block:
        with torch.device("meta"):
            module = EncoderLayer(embed, LayerPlan(0, heads, units), config.head_dim).eval()
        return trace_block("hubert_layer", module, (frames, embed))

    def slot(index: int) -> Slot:
        kept = {depth for depth, dropped in zip(config.depths, config.dropped, strict=True)
                if index not in dropped}

        def make(depth: int, embed: int, heads: int, ratio: float) -> Block | None:
            return layer(embed, heads, int(ratio * embed)) if depth in kept else None

        return Slot(("depth", "embed", f"layer{index}.heads", f"layer{index}.ratio"), make)

    frontend = _front(config, config.embeds[0], samples)[0]
    return Vocabulary(space, [
        Slot((), lambda: frontend),
        Slot(("embed",), lambda embed: _front(config, embed, samples)[1]),
        *(slot(index) for index in range(config.layers))])


def planned(config: ElasticHubertConfig, *, resolution: int | None = None,
            seconds: float | None = None) -> tuple[GeneSpace, Vocabulary]:
    """Returns space and blocks of a family member, for clips of any length, one second by default.

    Raises:
        InputError: A resolution, which speech has not, or clips that give no frame.
    """
    if resolution is not None:
        raise InputError(f"--resolution {resolution} is for images, and {config.name} is of "
                         "speech; drop it")
    space = build_space(config)
    samples = clip_samples(1.0 if seconds is None else seconds)
    return space, build_vocabulary(config, space, samples=samples)


class _FirstState(nn.Module):
    # What stands in front of the layers, as a function of one tensor that gives one.
    def __init__(self, encoder: PlainHubert) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, wave_BS: Tensor) -> Tensor:
        state: Tensor = self.encoder(wave_BS).last_hidden_state
        return state


def _front(config: ElasticHubertConfig, embed: int, samples: int) -> tuple[Block, Block]:
    # The convolutions, and what lies between them and the layers.
    with torch.device("meta"):
        encoder = PlainHubert(config, SubnetPlan(embed, ())).eval()
    convolutions = encoder.feature_extractor
    _, graph = trace_segments(_FirstState(encoder).eval(), (samples,), (convolutions,))
    assert graph is not None  # it has the projection at least
    return (trace_block("hubert_frontend", convolutions, (samples,)),
            keyed("hubert_embed", _with_mask_embedding(graph, embed)))


def _with_mask_embedding(graph: BlockGraph, embed: int) -> BlockGraph:
    # Inference never reads the mask embedding, so that it is not traced; the module has it.
    place = next(i for i, node in enumerate(graph.nodes) if node.kind == "linear")
    node = graph.nodes[place]
    count = node_params(node, graph.shape_of(node.inputs[0])) + embed
    counted = replace(node, attributes=(*node.attributes, ("params", count)))
    return BlockGraph(graph.inputs, (*graph.nodes[:place], counted, *graph.nodes[place + 1:]))
