"""The spaces that come with the project: LightHuBERT's two, and one for two cores.

LightHuBERT: Wang et al., arXiv 2203.15610, table 1. Its small space drops layer 11 at depth 11, and
layers 7 and 11 at depth 10; both spaces store the whole HuBERT Base.
"""

from functools import partial
from typing import TYPE_CHECKING

from nas.core.errors import InputError
from nas.core.protocols import Supernet
from supernets.hubert.config import ElasticHubertConfig

if TYPE_CHECKING:
    import torch

BASE = ElasticHubertConfig(
    name="hubert-base/1", embeds=(512, 640, 768), heads=(8, 10, 12), ratios=(3.5, 4.0),
    depths=(12,), dropped=((),))

SMALL = ElasticHubertConfig(
    name="hubert-small/1", embeds=(256, 384, 512), heads=(4, 6, 8), ratios=(3.0, 3.5, 4.0),
    depths=(10, 11, 12), dropped=((7, 11), (11,), ()))

# Behind the published convolutions no encoder is small: they cost 2.45 GMAC for a second of audio,
# and these .04. Every width has a number of heads that spans it, so that the network of that width
# is a stock HuBERT. All weights take less than 6 MB in half precision.
TINY = ElasticHubertConfig(
    name="hubert-tiny/1", embeds=(96, 128, 192), heads=(3, 4, 6), ratios=(1.0, 2.0, 3.0),
    depths=(3, 4, 5, 6), dropped=((1, 3, 5), (3, 5), (5,), ()),
    width=192, layers=6, stored_heads=6, stored_ratio=3.0, head_dim=32, frontend_width=64)

PRESETS = {"hubert-base": BASE, "hubert-small": SMALL, "hubert-tiny": TINY}


def _untrained(name: str, *, device: "torch.device") -> Supernet:
    del device
    raise InputError(f"{name} has no weights yet; train it: nas train --supernet {name} --teacher "
                     "FILE --data WAVS --out FOLDER, then give FOLDER")


untrained_tiny, untrained_small, untrained_base = (
    partial(_untrained, name) for name in ("hubert-tiny", "hubert-small", "hubert-base"))
