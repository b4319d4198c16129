"""Bundles of networks that make images have all that it takes."""

from pathlib import Path

from nas.core.arch import Arch
from nas.core.protocols import Supernet
from nas.export.generator_files import write_generator
from nas.export.manifest import ARCH
from nas.export.opened import open_bundle
from nas.pipeline.events import Event, Watcher
from supernets.var.generator_parts import generator_parts
from supernets.var.image_supernet import ImageSupernet


def with_generator(folder: Path, supernet: Supernet, *, watch: Watcher) -> None:
    """Adds the generator to a bundle whose network makes images, if it is not there yet.

    Args:
        folder: Of the bundle.
        supernet: That the network is of; its weights are the bundle's.
        watch: Is told of the export.

    Raises:
        ExportError: The bundle is damaged, or ONNX Runtime does not give torch's answers.
    """
    found: object = supernet
    if not isinstance(found, ImageSupernet):
        return
    bundle = open_bundle(folder)
    if bundle.manifest.generator is not None:
        return
    watch(Event("generator", 0, 1, "ONNX of each scale"))
    arch = Arch.from_json(bundle.files[ARCH].decode(), space=found.space)
    write_generator(bundle, generator_parts(found.net, found.vae, arch, labels=found.labels))
    watch(Event("generator", 1, 1))
