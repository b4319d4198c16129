"""Bytes of the key-value caches of an image's generation, from the plan alone.

VARiant's formula for N bridge scales and depth d is 2B·C·(bK + bV)·[D·L_N + d·(L − L_N)] bytes, the
2 for guidance, L_N the tokens of the first N scales. With a depth for each scale the bracket is the
sum over layers of the tokens that each runs on. Freed caches peak where the layers in use times the
tokens so far are most: max(D·L_N, d·L).
"""

from nas.core.errors import ConstraintError, InputError
from supernets.var.config import VarConfig
from supernets.var.space import DepthPlan, build_space, plan


def layer_tokens(plan: DepthPlan, *, freed: bool) -> int:
    """Returns the most tokens that all layers' caches hold at once.

    Args:
        plan: The layers of each scale.
        freed: Whether a layer's cache goes as soon as no later scale runs the layer.
    """
    if not freed:
        return sum(plan.lengths.values())
    return max(len(layers) * end for layers, end in zip(plan.layers, plan.ends, strict=True))


def kv_bytes(config: VarConfig, plan: DepthPlan, *, images: int, key_bytes: int, value_bytes: int,
             guided: bool = True, freed: bool = False) -> int:
    """Returns the bytes of all key and value caches of a batch.

    Args:
        config: The family member.
        plan: The layers of each scale.
        images: Of the batch, B.
        key_bytes: Of one number of a key.
        value_bytes: Of one number of a value.
        guided: Whether each image runs twice, with and without its class.
        freed: As of `layer_tokens`.

    Raises:
        InputError: A number below 1.
    """
    return layer_tokens(plan, freed=freed) * token_bytes(
        config, images=images, key_bytes=key_bytes, value_bytes=value_bytes, guided=guided)


def token_bytes(config: VarConfig, *, images: int, key_bytes: int, value_bytes: int,
                guided: bool) -> int:
    """Returns the bytes of a batch's keys and values of one token in one layer; see `kv_bytes`.

    Raises:
        InputError: A number below 1.
    """
    for what, number in (("images", images), ("key_bytes", key_bytes),
                         ("value_bytes", value_bytes)):
        if number < 1:
            raise InputError(f"{what} {number} must be at least 1")
    return images * (2 if guided else 1) * config.width * (key_bytes + value_bytes)


def check_budget(config: VarConfig, budget_bytes: int, *, images: int, key_bytes: int,
                 value_bytes: int, guided: bool = True, freed: bool = False) -> None:
    """Checks that some subnet's caches are within a budget; see `kv_bytes` for the arguments.

    Raises:
        ConstraintError: The smallest subnet's are not.
        InputError: As of `kv_bytes`.
    """
    smallest = plan(config, build_space(config).extreme(largest=False))
    least = kv_bytes(config, smallest, images=images, key_bytes=key_bytes,
                     value_bytes=value_bytes, guided=guided, freed=freed)
    if budget_bytes < least:
        raise ConstraintError(f"{budget_bytes} bytes of key-value caches are under the {least} of "
                              f"the smallest subnet of {config.name} for {images} images; allow "
                              "more or make fewer images at a time")
