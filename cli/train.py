"""`nas train`: a folder of images or of speech → a supernet."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json

if TYPE_CHECKING:
    from nas.pipeline.events import Event, Watcher

# Stages whose notes are worth a line of their own.
_SAID = ("images", "clips", "model", "validation", "finished")


def train(
    context: typer.Context,
    data: Annotated[Path, typer.Option(
        help="Folder of the images: idx files (train-images-idx3-ubyte(.gz) and its three "
             "companions), or for timm supernets and those that generate images also a folder of "
             "images for each class; or of audio files, at any depth, for supernets of speech.")],
    out: Annotated[Path, typer.Option(
        help="Supernet folder to make; a stopped training there goes on.")],
    supernet: Annotated[str, typer.Option(
        help="Family member to train anew (see nas list supernets), or timm:NAME, a model of timm "
             "to make elastic.")]
        = "mobilenet-fmnist",
    epochs: Annotated[int | None, typer.Option(
        help="Passes over the training images: by default 32, of timm models 30, pretrained ones "
             "10. 0 makes a timm model elastic without training. Of speech, those of stage 2, "
             "which trains all networks: 120. Of var-fmnist, those of --fixed-p.")] = None,
    first_epochs: Annotated[int, typer.Option(
        help="Of speech, passes of stage 1, which trains the largest network.")] = 40,
    batch_seconds: Annotated[float, typer.Option(help="Speech of a batch.")] = 30.0,
    learn: Annotated[str, typer.Option(
        help="Which frames of speech are learnt: masked or all.")] = "masked",
    mask_prob: Annotated[float | None, typer.Option(
        help="Share of frames that would be masked, did spans not overlap: 0.65, with --learn all "
             "none.")] = None,
    resample: Annotated[bool, typer.Option(
        "--resample", help="Take audio files of other sample rates than 16 kHz.")] = False,
    seconds: Annotated[float, typer.Option(
        help="Of the windows of held-out speech that are validated and tested on.")] = 1.0,
    vae: Annotated[Path | None, typer.Option(
        metavar="FILE", help="Of generation, a VQVAE that is trained already, as VAR's code saves "
                             "it; if absent, one is trained first.")] = None,
    vae_epochs: Annotated[int | None, typer.Option(
        help="Passes over the images for the VQVAE: 3.")] = None,
    vae_batch_size: Annotated[int | None, typer.Option(
        help="Images of the VQVAE's batches: 32.")] = None,
    vae_learning_rate: Annotated[float | None, typer.Option(
        help="Of the VQVAE, peak: 0.002 of var-fmnist, 0.0002 of others.")] = None,
    vae_perceptual: Annotated[float | None, typer.Option(
        metavar="WEIGHT", help="Weight in the VQVAE's loss of how far the maps of the classifier "
                               "of the features are off: 0.")] = None,
    shallow_epochs: Annotated[float | None, typer.Option(
        help="Of generation, passes of a first, cheap phase that trains few layers alone: 2 of "
             "var-fmnist that starts from nothing, else 0.")] = None,
    shallow_depth: Annotated[int | None, typer.Option(help="Layers of that phase: 4.")] = None,
    joint_epochs: Annotated[float | None, typer.Option(
        help="Passes of the phase in which a share of the steps trains a subnet, the others the "
             "whole net: 2.5 of var-fmnist, 5 of others.")] = None,
    transition_epochs: Annotated[float | None, typer.Option(
        help="Passes of the phase in which that share rises to all: 1.5 and 15.")] = None,
    subnet_epochs: Annotated[float | None, typer.Option(
        help="Passes of the phase that trains subnets alone: 0 and 10.")] = None,
    subnet_p: Annotated[float | None, typer.Option(
        help="Share of the joint phase: 0.3 and 0.2.")] = None,
    fixed_p: Annotated[float | None, typer.Option(
        metavar="P", help="One phase of --epochs with this share, in place of these phases.")]
        = None,
    depth_draw: Annotated[str, typer.Option(
        help="How a subnet is drawn: variant, one depth for all scales after the bridge, or space, "
             "any of the space.")] = "variant",
    distill: Annotated[bool, typer.Option(
        "--distill", help="Let the whole net teach a subnet in its step; --teaching has the share."
        )] = False,
    batch_size: Annotated[int | None, typer.Option(
        help="Images of a batch: 128, of timm models and of generation 64.")] = None,
    dataset: Annotated[str | None, typer.Option(
        help="timm's name of the data set: torch/cifar10, hfds/NAME, wds/; a folder of images or "
             "of idx files if absent.")] = None,
    download: Annotated[bool, typer.Option(
        "--download", help="Fetch the data set if it is not in --data.")] = False,
    pretrained: Annotated[bool, typer.Option(
        "--pretrained", help="Start with timm's weights, with a new head for other classes.")]
        = False,
    weights: Annotated[Path | None, typer.Option(
        help="Start with the weights in this file, .safetensors or of torch.save; of speech, those "
             "of LightHuBERT or a HuBERT; of generation, a checkpoint of VAR with its --vae.")]
        = None,
    new_head: Annotated[bool, typer.Option(
        "--new-head", help="Take --weights of other classes, with a new head.")] = False,
    image_size: Annotated[int | None, typer.Option(
        help="Side of the images in pixels; the timm model's own if absent.")] = None,
    resolutions: Annotated[str | None, typer.Option(
        help="Smaller sides, such as 96,128, that networks may work on.")] = None,
    importance: Annotated[str | None, typer.Option(
        help="By what channels, heads and blocks are sorted, so that small networks keep the best: "
             "activation (the default), magnitude, taylor, none.")] = None,
    calibration: Annotated[int | None, typer.Option(
        help="Training images for batch norm: up to 2048 if absent, fewer large ones.")] = None,
    rule: Annotated[str | None, typer.Option(
        help="Which networks a step trains: sandwich, uniform, single-path, best-up, worst-up, "
             "progressive, or with --front pareto; by default sandwich, of speech in stage 2 "
             "single-path.")] = None,
    front: Annotated[Path | None, typer.Option(
        metavar="RUN_DIR", help="Finished search of such a supernet, around whose Pareto front "
                                "--rule pareto trains.")] = None,
    teacher: Annotated[str | None, typer.Option(
        metavar="timm:NAME|PATH", help="A network that the largest one learns from, too; of "
                                       "speech, a file or folder of Whisper's encoder or a HuBERT."
        )] = None,
    teacher_layers: Annotated[int | None, typer.Option(
        help="Last layers of a teacher of speech that are learnt: 2 of Whisper's, 8 of a HuBERT's."
        )] = None,
    instance_norm: Annotated[bool, typer.Option(
        "--instance-norm/--no-instance-norm",
        help="Whether each feature of a teacher of speech gets mean 0 and variance 1 over a clip."
        )] = True,
    teacher_weights: Annotated[Path | None, typer.Option(
        help="File of the teacher's weights; timm's if absent.")] = None,
    optimizer: Annotated[str | None, typer.Option(
        help="sgd or adamw (the default of all but mobilenet-fmnist).")] = None,
    schedule: Annotated[str, typer.Option(help="cosine or one-cycle.")] = "cosine",
    learning_rate: Annotated[float | None, typer.Option(
        help="Peak: by default 0.3; of timm models 0.002, pretrained ones 0.0002, of speech "
             "0.0005, of var-fmnist 0.0015, of other VARs 0.0001 for batches of 256.")] = None,
    weight_decay: Annotated[float | None, typer.Option(
        help="0.0001 with sgd, 0.05 with adamw, of speech 0.01.")] = None,
    layer_decay: Annotated[float | None, typer.Option(
        help="Factor on the learning rate from each layer to the one before it.")] = None,
    label_smoothing: Annotated[float, typer.Option(
        help="Share of a label that is spread over all classes.")] = 0.05,
    teaching: Annotated[float, typer.Option(
        help="Share of the loss that small networks take from the largest one of a step; the rest "
             "is from labels.")] = 1.0,
    accumulation: Annotated[int, typer.Option(help="Batches of one update.")] = 1,
    clip_norm: Annotated[float | None, typer.Option(
        help="Largest norm of the gradients; of speech 1, of generation 2.")] = None,
    ema_decay: Annotated[float | None, typer.Option(
        help="Of the moving average of the weights, which then is the result; of generation 0.999."
        )] = None,
    precision: Annotated[str, typer.Option(help="no, bf16 or fp16.")] = "no",
    crop_scale: Annotated[str, typer.Option(
        "--crop-scale", "--scale", metavar="LOW,HIGH",
        help="Shares of an image's area that random crops have; timm's are 0.08,1.")] = "0.35,1",
    hflip: Annotated[float, typer.Option(
        help="Share of images that are mirrored; 0 for digits and text.")] = 0.5,
    color_jitter: Annotated[float, typer.Option(
        help="Of brightness, contrast and saturation, without --auto-augment; timm's is 0.4.")]
        = 0.2,
    auto_augment: Annotated[str, typer.Option(
        "--auto-augment", "--aa", metavar="POLICY",
        help="Such as rand-m9-mstd0.5, augmix-m5-w4-d2, 3a, original; none if absent.")] = "",
    random_erasing: Annotated[float, typer.Option(
        "--random-erasing", "--reprob", help="Share of images that lose a rectangle.")] = 0.0,
    mixup: Annotated[float, typer.Option(
        help="Alpha of averaged pairs of images; 0 for none.")] = 0.0,
    cutmix: Annotated[float, typer.Option(
        help="Alpha of pairs that swap an area; 0 for none.")] = 0.0,
    workers: Annotated[int | None, typer.Option(
        help="Processes that read images; by default none on a CPU.")] = None,
    tensorboard: Annotated[bool, typer.Option(
        "--tensorboard", help="Log into OUT/tensorboard.")] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    checkpoint_s: Annotated[float, typer.Option(
        help="Seconds between checkpoints: what a kill may cost.")] = 120.0,
    json: Json = False,
) -> None:
    """Train every network of a supernet at once."""
    del (first_epochs, batch_seconds, learn, mask_prob, resample, seconds, teacher_layers,
         instance_norm, data, out, supernet, epochs, batch_size, dataset, download, pretrained,
         weights, new_head, image_size, resolutions, importance, calibration, rule, front, teacher,
         teacher_weights, optimizer, schedule, learning_rate, weight_decay, layer_decay,
         label_smoothing, teaching, accumulation, clip_norm, ema_decay, precision, crop_scale,
         hflip, color_jitter, auto_augment, random_erasing, mixup, cutmix, workers, tensorboard,
         seed, checkpoint_s, vae, vae_epochs, vae_batch_size, vae_learning_rate, vae_perceptual,
         shallow_epochs, shallow_depth, joint_epochs, transition_epochs, subnet_epochs, subnet_p,
         fixed_p, depth_draw, distill)
    # All of these are read from the context.
    from cli.render import print_json, progress
    from nas.pipeline.train import make_request
    from nas.pipeline.train import train as run

    request = make_request({name: value for name, value in context.params.items()
                            if name != "json"})
    with progress() as watch:
        folder = run(request, watch=_saying(watch))
    if json:
        print_json({"supernet": str(folder)})
    else:
        print(f"trained: {folder}\nsearch it: nas search --supernet {folder}")


def _saying(watch: "Watcher") -> "Watcher":
    from cli.render import say

    def told(event: "Event") -> None:
        watch(event)
        if event.stage in _SAID and event.note:
            say(f"{event.stage}: {event.note}")

    return told
