"""A subnet's generation as plain modules, one for each scale, with the caches passed in and out.

They compute what `CachedDecoder` and `generate` do; what draws tokens and keeps the caches stands
between them. All run on R rows, the images twice where they are guided.

Legend: R rows, T tokens of a scale, P of the scale before, S of all before, N layers of a scale,
C width, H heads, D width of one, V codes, E channels of a code, W the latent's side.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from supernets.var.quantizer import MultiScaleQuantizer, phi_of
from supernets.var.resizing import resizing
from supernets.var.supernet import VarSupernet
from supernets.var.vae import MultiScaleVqvae

_New = tuple[Tensor, Tensor, Tensor]  # logits, keys, values


class FirstStep(nn.Module):
    """The first scale, from the classes alone.

    Args:
        net: Whose weights it shares.
        layers: Of the scale, in order.
    """

    def __init__(self, net: VarSupernet, layers: Sequence[int]) -> None:
        super().__init__()
        self.net, self.layers = net, tuple(layers)

    def forward(self, labels_R: Tensor) -> _New:
        """Returns logits (R, T, V), and new keys and values (T, N, R, H, D)."""
        class_RC = self.net.class_emb(labels_R)
        nothing = class_RC.new_zeros(class_RC.shape[0], 0, self.net.config.code_dim)
        return _run(self.net, self.layers, self.net.embedded(class_RC, nothing), class_RC, None)


class Codes(nn.Module):
    """What tokens of a scale add to the latent.

    Args:
        quantizer: Whose codes and convolution it shares.
        scale: From 0.
    """

    enlarge: Tensor

    def __init__(self, quantizer: MultiScaleQuantizer, scale: int) -> None:
        super().__init__()
        config = quantizer.config
        sides = config.patch_nums
        self.embedding, self.side = quantizer.embedding, sides[-1]
        self.phi = quantizer.quant_resi.qresi_ls[phi_of(scale, len(sides), config.phis)]
        self.last = scale == len(sides) - 1
        self.register_buffer("enlarge", resizing(sides[scale], sides[-1], mode="bicubic"),
                             persistent=False)

    def forward(self, tokens_RP: Tensor) -> Tensor:
        """Returns (R, E, W, W)."""
        h_REP = self.embedding(tokens_RP).transpose(1, 2)
        if not self.last:
            h_REP = h_REP @ self.enlarge
        y: Tensor = self.phi(h_REP.unflatten(2, (self.side, self.side)))
        return y


class ScaleStep(nn.Module):
    """A scale after the first.

    Args:
        net: Whose weights it shares.
        quantizer: Whose codes and convolution it shares.
        scale: From 0.
        layers: Of the scale, in order.
    """

    reduce: Tensor

    def __init__(self, net: VarSupernet, quantizer: MultiScaleQuantizer, scale: int,
                 layers: Sequence[int]) -> None:
        super().__init__()
        self.net, self.layers, self.scale = net, tuple(layers), scale
        self.codes = Codes(quantizer, scale - 1)
        sides = net.config.patch_nums
        self.register_buffer("reduce", resizing(sides[-1], sides[scale], mode="area"),
                             persistent=False)

    def forward(self, tokens_RP: Tensor, f_hat_REWW: Tensor, labels_R: Tensor,
                past_keys: Tensor, past_values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns logits (R, T, V), the latent, and new keys and values (T, N, R, H, D).

        Args:
            tokens_RP: Of the scale before.
            f_hat_REWW: The latent before these tokens.
            labels_R: Classes; `VarConfig.classes` for none.
            past_keys: Of the scale's layers, (S, N, R, H, D).
            past_values: Likewise.
        """
        f_hat_REWW = f_hat_REWW + self.codes(tokens_RP)
        inputs_RTE = (f_hat_REWW.flatten(2) @ self.reduce).transpose(1, 2)
        logits, keys, values = _run(
            self.net, self.layers, self.net.scale_embedded(inputs_RTE, self.scale),
            self.net.class_emb(labels_R), (past_keys, past_values))
        return logits, f_hat_REWW, keys, values


class ImageStep(nn.Module):
    """From the last scale's tokens to the image.

    Args:
        vae: Whose weights it shares.
    """

    def __init__(self, vae: MultiScaleVqvae) -> None:
        super().__init__()
        self.codes = Codes(vae.quantize, len(vae.config.patch_nums) - 1)
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

    def forward(self, tokens_RP: Tensor, f_hat_REWW: Tensor) -> Tensor:
        """Returns images (R, channels, height, width), clipped to −1 … 1."""
        f_hat_REWW = f_hat_REWW + self.codes(tokens_RP)
        image: Tensor = self.decoder(self.post_quant_conv(f_hat_REWW))
        return image.clamp(-1, 1)


def _run(net: VarSupernet, layers: Sequence[int], x_RTC: Tensor, class_RC: Tensor,
         past: tuple[Tensor, Tensor] | None) -> _New:
    # Tokens first, so that a scale's new ones are appended to a buffer that is one run of memory.
    conditioning = net.shared_ada_lin(class_RC)
    new_keys: list[Tensor] = []
    new_values: list[Tensor] = []
    ready = None if past is None else [part.permute(1, 2, 3, 0, 4) for part in past]  # (N,R,H,S,D)
    for place, layer in enumerate(layers):
        def remember(k_RHTD: Tensor, v_RHTD: Tensor, place: int = place) -> tuple[Tensor, Tensor]:
            new_keys.append(k_RHTD.permute(2, 0, 1, 3))
            new_values.append(v_RHTD.permute(2, 0, 1, 3))
            if ready is None:
                return k_RHTD, v_RHTD
            return (torch.cat((ready[0][place], k_RHTD), 2),
                    torch.cat((ready[1][place], v_RHTD), 2))

        x_RTC = net.blocks[layer](x_RTC, conditioning, remember=remember)
    return net.logits(x_RTC, class_RC), torch.stack(new_keys, 1), torch.stack(new_values, 1)
