"""Profiles as files: read with every doubt spelled out, written whole or not at all."""

import json
from pathlib import Path

from pydantic import ValidationError

from hardware_profiles.identity import AGAIN
from hardware_profiles.profile import SCHEMA_VERSION, HardwareProfile
from nas.core.errors import ProfileError
from nas.core.files import os_error_line, replace_file


def read_profile(path: Path, *, remedy: str = AGAIN) -> HardwareProfile:
    """Returns the profile in a file; `remedy` ends the message of an error.

    Raises:
        ProfileError: The file is missing, damaged, or of another schema version.
    """
    try:
        payload = json.loads(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"profile {path} cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"profile {path} is damaged ({error}); {remedy}") from None
    version = payload.get("schema_version") if isinstance(payload, dict) else None
    if version != SCHEMA_VERSION:
        if isinstance(version, int) and version > SCHEMA_VERSION:
            remedy = f"install a newer nas-service, or {remedy}"
        raise ProfileError(f"profile {path} has schema version {version}, this program reads "
                           f"{SCHEMA_VERSION}; {remedy}")
    try:
        return HardwareProfile.model_validate(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ProfileError(f"profile {path} is damaged ({where}: {first['msg']}); "
                           f"{remedy}") from None


def write_profile(profile: HardwareProfile, path: Path) -> None:
    """Writes the profile so that at every moment the file is whole: write, fsync, rename.

    Raises:
        ProfileError: The folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, profile_bytes(profile))
    except OSError as error:
        raise ProfileError(f"profile {path} cannot be written ({os_error_line(error)}); free space "
                           "or set NAS_CACHE_DIR to a folder that can be written") from None


def profile_bytes(profile: HardwareProfile) -> bytes:
    """Returns what the profile's file holds."""
    return (profile.model_dump_json(indent=1) + "\n").encode()
