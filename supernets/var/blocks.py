"""The blocks of an image's generation with guidance, scale by scale, with cached keys and values.

A layer is one block for each scale, whatever its index: it has the scale's queries, and the keys of
all scales so far. Between two scales one block draws the tokens and makes the next input of them;
after the last it makes the image. So MACs and latency are those of one image. Each scale finds the
conditioning anew, as exported steps do, which know nothing but the labels. What is learnt is
counted where it is run first, once: a layer at the first scale, which runs all of them.
"""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import nn

from nas.core.blocks import Block, BlockGraph, Shape, keyed
from nas.core.costs import shape_params
from nas.core.errors import InputError
from nas.core.space import GeneSpace
from nas.core.vocabulary import Slot, Vocabulary
from supernets.tracing import trace_block
from supernets.var.config import VarConfig
from supernets.var.presets import PRESETS, VAES
from supernets.var.quantizer import phi_of
from supernets.var.space import build_space
from supernets.var.supernet import VarSupernet
from supernets.var.traced import AfterScale, FirstInput, ScaleLayer
from supernets.var.vae import MultiScaleVqvae
from supernets.var.vae_config import VaeConfig, check_pair


def build_vocabulary(config: VarConfig, vae: VaeConfig, space: GeneSpace) -> Vocabulary:
    """Returns every distinct block of an image's generation, and the map from codes to them.

    Parameters are those of the network that `image_supernet.ImageSupernet` extracts: the
    transformer's, and what makes its inputs of tokens; not the decoder's, which is run, too.

    Raises:
        SpaceError: A VQVAE with other codes.
    """
    check_pair(config, vae)
    with torch.device("meta"):
        net, codes = VarSupernet(config).eval(), MultiScaleVqvae(vae).eval()
    slots = [_always(_first(net))]
    for scale in range(config.scales):
        layers = [_layer(net, scale, first=first) for first in (True, False)]
        slots.append(_always(layers[0]))
        slots += [slot for place in range(1, config.depth)
                  if (slot := _slot(config, scale, place, layers[1])) is not None]
        slots.append(_always(_after(net, codes, scale)))
    return Vocabulary(space, slots)


def planned(config: VarConfig, *, resolution: int | None = None,
            seconds: float | None = None) -> tuple[GeneSpace, Vocabulary]:
    """Returns space and blocks of one of `PRESETS`.

    Raises:
        InputError: Another size of images, clips of speech, or a configuration that is no preset,
            of which no VQVAE is known.
    """
    check_sizes(config, resolution=resolution, seconds=seconds)
    for name, preset in PRESETS.items():
        if preset == config:
            space = build_space(config)
            return space, build_vocabulary(config, VAES[name], space)
    raise InputError(f"{config.name} is none of {', '.join(PRESETS)}: give a folder, which has its "
                     "VQVAE in it")


def check_sizes(config: VarConfig, *, resolution: int | None, seconds: float | None) -> None:
    """Refuses other sizes of images than the VQVAE's.

    Raises:
        InputError: A resolution, or a length in time.
    """
    if resolution is not None:
        raise InputError(f"--resolution {resolution}: {config.name} makes images of one size, "
                         "which its token maps have; drop it")
    if seconds is not None:
        raise InputError(f"--seconds {seconds:g} is for supernets of speech, and {config.name} "
                         "makes images; drop it")


def _slot(config: VarConfig, scale: int, place: int, block: Block) -> Slot | None:
    # Of a layer after a scale's first; None where no architecture runs so many there.
    number = scale + 1
    whole = {bridge for bridge in config.bridges if bridge >= number}
    flexible = len(whole) < len(config.bridges)
    deep = flexible and place < config.depths[-1]
    if not whole and not deep:
        return None
    if not flexible or (deep and place < config.depths[0]):
        return _always(block)
    if not deep:
        return Slot(("bridge",), lambda bridge: block if bridge in whole else None)
    genes = ("bridge", f"scale{number}.depth")
    return Slot(genes, lambda bridge, depth: block if bridge in whole or place < depth else None)


def _always(block: Block) -> Slot:
    return Slot((), lambda: block)


def _first(net: VarSupernet) -> Block:
    owned: list[nn.Module | nn.Parameter] = [net.class_emb, net.word_embed, net.lvl_embed,
                                             net.shared_ada_lin, net.pos_start, net.pos_1LC]
    return _traced("var_start", FirstInput(net), (net.config.rows, net.config.width), owned)


def _layer(net: VarSupernet, scale: int, *, first: bool) -> Block:
    config = net.config
    tokens = config.ends[scale] - (config.ends[scale - 1] if scale else 0)
    return _traced(f"var_layer{scale + 1}", ScaleLayer(net, scale, first=first),
                   (config.rows, tokens, config.width), [net.blocks[0]] if scale == 0 else [])


def _after(net: VarSupernet, vae: MultiScaleVqvae, scale: int) -> Block:
    config = net.config
    tokens = config.patch_nums[scale]**2
    owned = [] if scale else [net.head_nm, net.head, *_of_quantizer(vae)]
    kind = "var_image" if scale == config.scales - 1 else f"var_next{scale + 2}"
    return _traced(kind, AfterScale(net, vae, scale), (config.rows, tokens, config.width), owned)


def _of_quantizer(vae: MultiScaleVqvae) -> list[nn.Module]:
    # What makes inputs of tokens: the last scale's convolution leads to the decoder alone.
    scales, phis = len(vae.config.patch_nums), vae.config.phis
    used = {phi_of(scale, scales, phis) for scale in range(scales - 1)}
    return [vae.quantize.embedding, *(vae.quantize.quant_resi.qresi_ls[index] for index in used)]


def _traced(kind: str, module: nn.Module, shape: Shape,
            owned: Iterable[nn.Module | nn.Parameter]) -> Block:
    # The block, with the learnt numbers of what is counted in it and no others.
    graph = trace_block(kind, module.eval(), shape).graph
    count = sum(parameter.numel() for part in owned for parameter in
                ([part] if isinstance(part, nn.Parameter) else part.parameters()))
    nodes = []
    for place, node in enumerate(graph.nodes):
        kept = tuple(pair for pair in node.attributes if pair[0] != "params")
        bare = replace(node, attributes=kept)
        own = count if place == 0 else 0
        if kept != node.attributes or own != shape_params(bare, graph.shape_of(node.inputs[0])):
            bare = replace(node, attributes=(*kept, ("params", own)))
        nodes.append(bare)
    return keyed(kind, BlockGraph(graph.inputs, tuple(nodes)))
