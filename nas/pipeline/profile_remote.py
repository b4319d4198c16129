"""The use-cases of profiling another machine: export a bundle, run it by ssh, import the result."""


from pathlib import Path

from hardware_profiles.agent_result import read_result
from hardware_profiles.bundle import require_device_name, write_bundle
from hardware_profiles.bundle_manifest import (
    BundleManifest,
    RuntimeWish,
    read_bundle,
    recall,
    remember,
)
from hardware_profiles.few_shot import plan_few_shot
from hardware_profiles.host import HostConfig
from hardware_profiles.importing import import_result
from hardware_profiles.measure import protocol_for, this_runtime
from hardware_profiles.plan import plan_profile
from hardware_profiles.profile import HardwareProfile, MeasureProtocol, Precision
from hardware_profiles.store import user_store
from nas.core.errors import InputError, ProfileError
from nas.pipeline.design import Design, load_design
from nas.pipeline.remote import AgentOptions, run_remotely

SEED = 0  # that of profiles of the machine at hand


def export_bundle(supernet: str, out: Path, *, device: str, threads: int = 1, batch: int = 1,
                  precision: Precision = "fp32", resolution: int | None = None,
                  few_shot: int | None = None, protocol: MeasureProtocol | None = None,
                  networks: HostConfig | None = None) -> BundleManifest:
    """Writes the bundle that another machine measures, and remembers it for the import.

    Args:
        supernet: See `nas.pipeline.design.load_design`.
        out: The zip file, made or replaced.
        device: What the machine is to be called.
        threads: ONNX Runtime threads.
        batch: Of each inference.
        precision: Of weights and activations.
        resolution: Side of the input images; None: the supernet's own.
        few_shot: So many whole networks and no blocks; None: a full profile.
        protocol: How a latency is taken; the default for so many threads if absent.
        networks: How many whole networks are measured; the default if absent.

    Raises:
        InputError: An option out of range, an unknown supernet, or a file that cannot be written.
    """
    for name, value in (("threads", threads), ("batch", batch)):
        if value < 1:
            raise InputError(f"--{name} {value}: at least 1")
    require_device_name(device)
    made = load_design(supernet, resolution=resolution)
    networks = networks or HostConfig().fewer_of(made.space)
    if few_shot is not None:
        plan = plan_few_shot(made.space, made.vocabulary, made.block_ids, nets=few_shot, seed=SEED)
    else:
        plan = plan_profile(made.space, made.vocabulary, made.block_ids, seed=SEED,
                            calib_nets=networks.calib_nets, test_nets=networks.test_nets)
    manifest = write_bundle(
        out, plan, space=made.space, vocabulary=made.vocabulary, device=device, supernet=supernet,
        resolution=resolution,
        wish=RuntimeWish(threads=threads, batch=batch, precision=precision), seed=SEED,
        protocol=protocol or protocol_for(this_runtime(threads=threads, batch=batch)))
    remember(manifest, bundle_folder())
    return manifest


def import_profile(result: Path, *, bundle: Path | None = None,
                   supernet: str | None = None) -> HardwareProfile:
    """Checks an agent's result, fits a profile to it and stores that in place of an old one.

    Args:
        result: The agent's file.
        bundle: The bundle that was measured; needed where it was not exported by this user.
        supernet: Needed where it is called or lies elsewhere than at export.

    Raises:
        InputError: A file that cannot be used; a stored profile is then as it was.
    """
    store = user_store()
    store.require_writable()
    found = read_result(result)
    manifest = read_bundle(bundle) if bundle else recall(found.bundle, bundle_folder())
    require_device_name(manifest.device)  # a bundle that was made by hand could have any
    made = _design_of(manifest, supernet)
    prior = store.measured(space=manifest.space, generator=manifest.generator,
                           device=manifest.device)
    profile = import_result(found, manifest, made.space, made.vocabulary, made.block_ids,
                            prior=prior)
    store.save(profile)
    return profile


def profile_over_ssh(host: str, bundle: Path, result: Path, *, manifest: BundleManifest,
                     options: AgentOptions) -> HardwareProfile:
    """Copies a bundle to a machine, runs the agent there, copies the result back, imports it.

    Raises:
        InputError: A host or result that cannot be used.
        RemoteError: ssh, scp or the agent failed; what was measured stays on that machine.
    """
    run_remotely(host, bundle, result, folder=f"nas-bundle-{manifest.id}", options=options)
    return import_profile(result, bundle=bundle)


def bundle_folder() -> Path:
    """Returns where the manifests of exported bundles are kept."""
    return user_store().folder.parent / "bundles"


def _design_of(manifest: BundleManifest, name: str | None) -> Design:
    try:
        return load_design(name or manifest.supernet, resolution=manifest.resolution)
    except InputError as error:
        if name:
            raise
        raise ProfileError(f"the supernet of bundle {manifest.id} cannot be loaded ({error}); "
                           "give it with --supernet") from None
