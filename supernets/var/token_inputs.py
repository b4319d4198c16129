"""What a transformer reads of known images, from their token ids alone and with fixed shapes.

The quantiser's bicubic enlargements and averages over cells are linear and always of the same
sizes: here they are matrices, which every exporter knows.

Legend: B batch, L tokens of an image, T of one scale, N positions of the latent, E channels of a
code, H and W the latent's sides.
"""

import copy

import torch
from torch import Tensor, nn

from supernets.var.quantizer import MultiScaleQuantizer, phi_of
from supernets.var.resizing import resizing


class TokenInputs(nn.Module):
    """`MultiScaleQuantizer.teacher_inputs` of token ids in one tensor.

    It has the codes and convolutions of a quantiser as weights of its own, which are not trained:
    a decoder speaks these codes.

    Args:
        quantizer: Whose codes; not changed.
    """

    def __init__(self, quantizer: MultiScaleQuantizer) -> None:
        super().__init__()
        config = quantizer.config
        sides, latent = config.patch_nums, config.patch_nums[-1]
        self.sides = sides
        chosen = [phi_of(scale, len(sides), config.phis) for scale in range(len(sides) - 1)]
        used = sorted(set(chosen))
        self.embedding = copy.deepcopy(quantizer.embedding).requires_grad_(False)
        self.phis = nn.ModuleList(copy.deepcopy(quantizer.quant_resi.qresi_ls[index])
                                  for index in used).requires_grad_(False)
        self._chosen = [used.index(index) for index in chosen]
        for scale in range(len(sides) - 1):
            # They follow from the sizes: no part of the state.
            for name, source, target, mode in (
                    ("enlarge", sides[scale], latent, "bicubic"),
                    ("average", latent, sides[scale + 1], "area")):
                self.register_buffer(f"{name}{scale}", resizing(source, target, mode=mode).T
                                     .contiguous(), persistent=False)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """Returns (B, L − T of the first scale, E) of all token ids, coarse to fine."""
        inputs, begin, latent = [], 0, self.sides[-1]
        f_hat_BNE: Tensor | None = None
        for scale, side in enumerate(self.sides[:-1]):
            codes_BTE = self.embedding(tokens_BL[:, begin:begin + side**2])
            begin += side**2
            h_BNE = self.get_buffer(f"enlarge{scale}") @ codes_BTE
            h_BEHW = h_BNE.transpose(1, 2).unflatten(2, (latent, latent))
            h_BNE = self.phis[self._chosen[scale]](h_BEHW).flatten(2).transpose(1, 2)
            f_hat_BNE = h_BNE if f_hat_BNE is None else f_hat_BNE + h_BNE
            inputs.append(self.get_buffer(f"average{scale}") @ f_hat_BNE)
        return torch.cat(inputs, 1)
