"""Self-attention that runs with the leading heads of stored weights.

Legend: B batch, T sequence, E features, H heads, D features of a head, A = H·D.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from supernets.elastic.linear import ElasticLinear


class ElasticSelfAttention(nn.Module):
    """Multi-head self-attention with elastic features and heads, independent of each other.

    The width of a head never changes, nor does the scale of the scores, its root.

    Args:
        features: Largest number of input and output features.
        heads: Largest number of heads.
        head_dim: Features of a head.
    """

    def __init__(self, features: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.head_dim = head_dim
        self.q_proj = ElasticLinear(features, heads * head_dim)
        self.k_proj = ElasticLinear(features, heads * head_dim)
        self.v_proj = ElasticLinear(features, heads * head_dim)
        self.out_proj = ElasticLinear(heads * head_dim, features)

    def forward(self, x_BTE: Tensor, heads: int, keep_B11T: Tensor | None = None) -> Tensor:
        """Returns (B, T, E) for the features of the input.

        Args:
            x_BTE: Of any number of features up to the stored one.
            heads: The first ones that run.
            keep_B11T: False where a position is not attended to; None: all are.

        Raises:
            ArchError: More features or heads than are stored.
        """
        batch, length, features = x_BTE.shape
        q_BHTD, k_BHTD, v_BHTD = (
            project(x_BTE, heads * self.head_dim).view(batch, length, heads, -1).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj))
        y_BHTD = F.scaled_dot_product_attention(q_BHTD, k_BHTD, v_BHTD, attn_mask=keep_B11T)
        y: Tensor = self.out_proj(y_BHTD.transpose(1, 2).reshape(batch, length, -1), features)
        return y
