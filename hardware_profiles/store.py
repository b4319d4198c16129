"""Where profiles lie: one file each under the user's cache folder."""

import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import platformdirs

from hardware_profiles.identity import AGAIN, ProfileKey
from hardware_profiles.profile import HardwareProfile, Kind
from hardware_profiles.profile_file import read_profile, write_profile
from nas.core.errors import ProfileError

CACHE_VARIABLE = "NAS_CACHE_DIR"
KINDS: tuple[Kind, ...] = get_args(Kind)  # best first


@dataclass(frozen=True, slots=True)
class StoredProfile:
    """A file of the store: its profile, or else the one line that says why it has none."""

    path: Path
    profile: HardwareProfile | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class ProfileStore:
    """The profiles in one folder; the name of a file follows from its profile's key."""

    folder: Path

    def path(self, key: ProfileKey, kind: Kind = "measured") -> Path:
        """Returns where the profile with this key and of this kind lies, or would lie."""
        return self.folder / f"{key.name(kind)}.json"

    def find(self, key: ProfileKey) -> HardwareProfile | None:
        """Returns the best profile with this key, or None if there is none yet.

        A measured one comes before a few-shot one, and that before an estimate.

        Raises:
            ProfileError: Its file is unreadable, damaged, of another schema version, or holds
                another key or kind. A worse kind never stands in for a damaged better one.
        """
        for kind in KINDS:
            path = self.path(key, kind)
            try:
                if not path.exists():
                    continue
            except OSError:
                raise ProfileError(f"profile folder {self.folder} cannot be read; set "
                                   f"{CACHE_VARIABLE} to a folder that can") from None
            profile = read_profile(path)
            if profile.key != key or profile.kind != kind:
                raise ProfileError(f"profile {path} is not what its name says; delete it and "
                                   f"{AGAIN}")
            return profile
        return None

    def measured(self, *, space: str, generator: str, device: str) -> HardwareProfile | None:
        """Returns the newest measured profile of a space as it is now, or None.

        One of the device comes before any other; files that cannot be used are passed over.
        """
        found = [item.profile for item in self.list()
                 if item.profile is not None and item.profile.kind == "measured"
                 and (item.profile.space, item.profile.generator) == (space, generator)]
        return max(found, default=None, key=lambda profile: (profile.device.id == device,
                                                             profile.created))

    def save(self, profile: HardwareProfile) -> Path:
        """Writes the profile, whole or not at all, in place of one with the same key.

        Raises:
            ProfileError: The folder cannot be written.
        """
        path = self.path(profile.key, profile.kind)
        write_profile(profile, path)
        return path

    def require_writable(self) -> None:
        """Makes the folder, before minutes are spent on what could not be saved.

        Raises:
            ProfileError: The folder cannot be made or written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise ProfileError(f"profile folder {self.folder} cannot be written ({error.strerror});"
                               f" set {CACHE_VARIABLE} to a folder that can be") from None

    def list(self) -> Sequence[StoredProfile]:
        """Returns every file of the store by name; one that cannot be used says why."""
        return [_stored(path) for path in sorted(self.folder.glob("*.json"))]


def user_store(environ: Mapping[str, str] = os.environ) -> ProfileStore:
    """Returns the store of this user: under ``$NAS_CACHE_DIR``, else the user's cache folder.

    Raises:
        ProfileError: Neither the variable nor a home folder is there.
    """
    root = environ.get(CACHE_VARIABLE)
    return ProfileStore((Path(root) if root else _user_cache()) / "profiles")


def _user_cache() -> Path:
    try:
        folder = platformdirs.user_cache_path("nas-service")
    except RuntimeError:  # of newer versions; older ones leave the "~" as it is
        folder = Path("~")
    if not folder.is_absolute():
        raise ProfileError("this user has no home folder to keep profiles in; set "
                           f"{CACHE_VARIABLE} to a folder that can be written")
    return folder


def _stored(path: Path) -> StoredProfile:
    try:
        return StoredProfile(path, read_profile(path), None)
    except ProfileError as error:
        return StoredProfile(path, None, str(error))
