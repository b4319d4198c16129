"""What a profile is good for: its key, and the checks that it fits what is asked."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from nas.core.blocks import Block
from nas.core.errors import ProfileError
from nas.core.space import GeneSpace

if TYPE_CHECKING:
    from hardware_profiles.profile import Device, HardwareProfile, Kind, Runtime

BUILDER_VERSION = 1  # raise it when the same block is written as other ONNX nodes than before
AGAIN = "run `nas profile run` to measure anew"


class ProfileKey(BaseModel):
    """All that a latency depends on; equal keys mean the profile may be reused.

    Attributes:
        device: Id of the device.
        runtime: Name of the runtime.
        version: Of the runtime.
        provider: Its execution provider.
        precision: Of weights and activations.
        threads: Of each inference.
        batch: Of each inference.
        space: Id of the space.
        generator: See `generator_hash`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str
    runtime: str
    version: str
    provider: str
    precision: str
    threads: int
    batch: int
    space: str
    generator: str

    def name(self, kind: "Kind") -> str:
        """Returns the id of a profile of that kind: readable parts, then a hash of the key."""
        digest = hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]
        parts = [self.device, self.space, f"{self.threads}t", self.version, digest]
        if self.precision != "fp32":
            parts.insert(3, self.precision)
        if kind != "measured":
            parts.insert(2, kind)
        return "-".join(map(slug, parts))


def profile_key(device: "Device", runtime: "Runtime", *, space: str, generator: str) -> ProfileKey:
    """Returns the key of a device, runtime and space."""
    return ProfileKey(device=device.id, runtime=runtime.name, version=runtime.version,
                      provider=runtime.provider, precision=runtime.precision,
                      threads=runtime.threads, batch=runtime.batch, space=space,
                      generator=generator)


def generator_hash(space: GeneSpace, vocabulary: Sequence[Block]) -> str:
    """Returns 16 hex digits that change with the space's genes, its blocks or their ONNX form."""
    genes = [(gene.name, gene.choices) for gene in space.genes]
    content = [BUILDER_VERSION, space.id, genes, [block.key for block in vocabulary]]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def require_space(profile: "HardwareProfile", *, space: str, generator: str) -> None:
    """Checks that a profile was measured for this space as it is now.

    Raises:
        ProfileError: It is of another space, or the space's genes or blocks have changed.
    """
    if profile.space != space:
        raise ProfileError(f"profile {profile.id} is of space {profile.space}, not {space}; "
                           f"{AGAIN}")
    if profile.generator != generator:
        raise ProfileError(f"profile {profile.id} was measured for another version of space "
                           f"{space} (generator {profile.generator}, now {generator}); {AGAIN}")


def require_key(profile: "HardwareProfile", key: ProfileKey, *, remedy: str) -> None:
    """Checks that a profile is good for exactly this device, runtime and space.

    Raises:
        ProfileError: It is not; the message says in what, and ends with `remedy`.
    """
    there, here = profile.key.model_dump(), key.model_dump()
    differences = [f"{name} is {there[name]} there and {here[name]} here"
                   for name in there if there[name] != here[name]]
    if differences:
        raise ProfileError(f"profile {profile.id} is not for this: {'; '.join(differences)}; "
                           f"{remedy}")


def slug(text: str) -> str:
    """Returns the text as part of a file name: lower case, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")
