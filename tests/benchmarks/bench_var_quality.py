"""The shipped `var-fmnist`: its VQVAE, its depths at N=4, and what 16-bit keys cost.

Feature-FID, precision, recall and class accuracy are of 2,000 generated images against the 10,000
test images, by the shipped classifier's 64 features, for three seeds (one where caches are of 16
bits). They cannot be compared with figures of Inception. A picture of samples goes to docs/images.
Fashion-MNIST lies where Debian's dataset-fashion-mnist puts it.

    python tests/benchmarks/bench_var_quality.py
"""

from typing import Any

import matplotlib.pyplot as plt
import torch
from _report import FOLDER, write_report
from _var import BRIDGE, SAMPLING, SEEDS, Bench, pixels

from nas.core.arch import Arch
from nas.pipeline.device import keep_freed_memory
from supernets.var.decoding import CachedDecoder
from supernets.var.metrics import class_accuracy, feature_statistics, frechet_distance
from supernets.var.presets import FMNIST
from supernets.var.samples import Caches, generated_batches, image_features
from supernets.var.space import full_arch, variant_arch
from supernets.var.usage import codebook_usage, count_codes

PICTURE = FOLDER.parent / "images" / "var-fmnist.png"
WHOLE = full_arch(FMNIST)
HALF = Caches(key_dtype=torch.float16, value_dtype=torch.float16)
HALF_KEYS = Caches(key_dtype=torch.float16)


def vqvae(bench: Bench) -> dict[str, Any]:
    """Returns how well test images are made anew, and which codes they use."""
    images, labels = pixels("t10k")
    vae, classifier = bench.net.vae, bench.fid.classifier
    made, counts = [], torch.zeros(FMNIST.scales, FMNIST.vocabulary, dtype=torch.int64)
    for rows in images.split(500):
        tokens = vae.tokens(rows)
        counts += count_codes(tokens, FMNIST.vocabulary)
        made.append(vae.images(tokens))
    again = torch.cat(made)
    squared = float((again - images).square().mean())
    features = image_features(classifier, again)
    with torch.no_grad():
        accuracies = [class_accuracy(torch.cat([classifier(rows) for rows in part.split(500)]),
                                     labels) for part in (images, again)]
    return {"images": len(images), "mse": squared,
            "l1": float((again - images).abs().mean()),
            "psnr_db": float(10 * torch.log10(torch.tensor(4 / squared))),
            "codes_used": float((counts.sum(0) > 0).double().mean()),
            "scales": [{"used": usage.used, "perplexity": usage.perplexity}
                       for usage in codebook_usage(counts)],
            "feature_fid": frechet_distance(feature_statistics(classifier.name, features),
                                            bench.real.statistics),
            "classifier_accuracy": {"real": accuracies[0], "reconstructed": accuracies[1]}}


@torch.no_grad()
def logits_of(bench: Bench, arch: Arch, caches: Caches) -> torch.Tensor:
    """Returns cached logits (B, L, V) of the first test images, given their own tokens."""
    images, labels = pixels("t10k")
    quantizer = bench.net.vae.quantize
    tokens = bench.net.vae.tokens(images[:100])
    decoder = CachedDecoder(bench.net.net, labels[:100], arch, key_dtype=caches.key_dtype,
                            value_dtype=caches.value_dtype, freed=caches.freed)
    found, f_hat = [decoder.step()], quantizer.blank(100)
    for scale in range(1, FMNIST.scales):
        f_hat = f_hat + quantizer.contribution(tokens[scale - 1], scale - 1)
        found.append(decoder.step(quantizer.scale_input(f_hat, scale)))
    return torch.cat(found, 1)


def cache_figures(bench: Bench) -> dict[str, Any]:
    """Returns what freeing and 16-bit caches do to logits and images."""
    few = variant_arch(FMNIST, bridge=BRIDGE, depth=2)
    found: dict[str, Any] = {}
    for name, arch in (("d16", WHOLE), ("d2", few)):
        usual = logits_of(bench, arch, Caches())
        kept = logits_of(bench, arch, Caches(freed=False))
        found[name] = {"freed_logits_identical": bool(torch.equal(usual, kept))}
        for what, caches in (("keys in 16 bits", HALF_KEYS), ("keys and values in 16 bits", HALF)):
            other = logits_of(bench, arch, caches)
            kl = (usual.softmax(-1) * (usual.log_softmax(-1) - other.log_softmax(-1))).sum(-1)
            found[name][what] = {"kl_nats_mean": float(kl.mean()), "kl_nats_max": float(kl.max()),
                                 **bench.figures(arch, caches=caches, seeds=SEEDS[:1])}
    return found


def draw(bench: Bench, depths: dict[str, Arch]) -> None:
    """Draws images of each depth, two of each class, equal classes and random numbers below."""
    figure, axes = plt.subplots(len(depths), figsize=(9, 3.9 * len(depths) / 4),
                                layout="constrained")
    for axis, (name, arch) in zip(axes, depths.items(), strict=True):
        images = next(generated_batches(bench.net.net, bench.net.vae, arch, samples=40, batch=40,
                                        sampling=SAMPLING, seed=0))[0].images[:, 0]
        sheet = torch.cat([torch.cat(list(row), 1) for row in images.split(20)])
        axis.imshow(sheet, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        layers = f"{name[1:]} layers" if arch == WHOLE else f"{name[1:]} layers late"
        axis.set_ylabel(layers, fontsize=8)
        axis.set(xticks=[], yticks=[])
    figure.savefig(PICTURE, dpi=130)


def told(figures: dict[str, Any]) -> dict[str, Any]:
    """Prints figures as they come, and returns them."""
    print(figures, flush=True)
    return figures


def main() -> None:
    keep_freed_memory()
    torch.set_num_threads(1)
    bench = Bench()
    depths = {"d16": WHOLE, **{f"d{depth}": variant_arch(FMNIST, bridge=BRIDGE, depth=depth)
                               for depth in reversed(FMNIST.depths)}}
    draw(bench, depths)
    figures = {"sampling": repr(SAMPLING), "seeds": SEEDS, "bridge": BRIDGE, "vqvae": vqvae(bench),
               "depths": {name: told({**bench.validated(arch), **bench.figures(arch)})
                          for name, arch in depths.items()},
               "caches": cache_figures(bench)}
    print(write_report("var_quality", figures, seed=0))


if __name__ == "__main__":
    main()
