"""The number of parameters of a subnet as LightHuBERT's authors report it."""

from supernets.hubert.config import ElasticHubertConfig
from supernets.hubert.space import SubnetPlan


def published_params(config: ElasticHubertConfig, subnet: SubnetPlan) -> int:
    """Returns the parameters by which subnets of the published spaces are named.

    It differs from the number that an extracted network has in two ways: the mask embedding counts
    at its stored width, whatever the subnet's, and the positional convolution counts without the
    gain that weight norm keeps for each tap. Neither counts the prediction head.
    """
    width, e = config.frontend_width, subnet.embed
    channels = (1, *(width for _ in config.kernels[1:]))
    frontend = sum(inputs * width * kernel + 2 * width
                   for inputs, kernel in zip(channels, config.kernels, strict=True))
    projection = 2 * width + (width + 1) * e
    position = e * (e // config.position_groups) * config.position_kernel + e
    total = frontend + projection + position + 2 * e + config.width
    for layer in subnet.layers:
        a, f = layer.heads * config.head_dim, layer.units
        total += 4 * a * e + 3 * a + 2 * e * f + f + 6 * e
    return total
