"""Where torch computes: a GPU where there is one."""

import torch


def torch_device() -> torch.device:
    """Returns the CUDA device if one is usable, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
