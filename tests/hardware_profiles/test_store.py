import os
import subprocess
import sys
from pathlib import Path

import pytest

import hardware_profiles
from hardware_profiles.profile_file import read_profile
from hardware_profiles.store import CACHE_VARIABLE, ProfileStore, user_store
from nas.core.errors import ProfileError

ROOT = Path(hardware_profiles.__file__).parents[1]

WRITER = """
import sys
from pathlib import Path
from hardware_profiles.profile_file import read_profile
from hardware_profiles.store import ProfileStore
profile = read_profile(Path(sys.argv[1])).model_copy(update={"licence": sys.argv[3] * 50_000})
for _ in range(40):
    ProfileStore(Path(sys.argv[2])).save(profile)
"""


def python(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", *arguments],
                            env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_what_is_saved_is_found_by_its_key(make_profile, tmp_path):
    store, profile = ProfileStore(tmp_path / "profiles"), make_profile()
    assert store.find(profile.key) is None
    assert store.list() == []
    path = store.save(profile)
    assert store.find(profile.key) == profile
    assert store.find(profile.key.model_copy(update={"threads": 2})) is None
    assert [(item.path, item.profile) for item in store.list()] == [(path, profile)]


def test_the_best_kind_is_found_and_none_replaces_another(make_profile, tmp_path):
    store = ProfileStore(tmp_path)
    kinds = ("estimated", "fewshot", "measured")  # worst first
    for kind in kinds:
        store.save(make_profile(kind=kind))
        assert store.find(make_profile().key).kind == kind
    for kind in kinds:
        store.save(make_profile(kind=kind))
    assert store.find(make_profile().key).kind == "measured"
    assert sorted(item.profile.kind for item in store.list()) == sorted(kinds)


def test_a_worse_kind_does_not_stand_in_for_a_damaged_better_one(make_profile, tmp_path):
    store, profile = ProfileStore(tmp_path), make_profile()
    store.save(make_profile(kind="fewshot"))
    store.save(profile).write_text("{")
    with pytest.raises(ProfileError, match="is damaged"):
        store.find(profile.key)


def test_a_prior_is_the_newest_measured_one_of_the_space_this_device_first(make_profile, tmp_path):
    store, profile = ProfileStore(tmp_path), make_profile()
    asked = {"space": profile.space, "generator": profile.generator, "device": profile.device.id}
    assert store.measured(**asked) is None
    store.save(make_profile(kind="fewshot"))
    assert store.measured(**asked) is None
    store.save(profile)
    elsewhere = make_profile(id="elsewhere",
                             device=profile.device.model_copy(update={"id": "board"}))
    store.save(elsewhere)
    assert store.measured(**asked) == profile
    assert store.measured(**asked | {"device": "board"}) == elsewhere
    assert store.measured(**asked | {"device": "a third"}) == elsewhere
    assert store.measured(**asked | {"generator": "of another day"}) is None
    store.path(profile.key).write_text("{")
    assert store.measured(**asked) == elsewhere


def test_a_damaged_file_is_listed_with_its_problem_and_never_used(make_profile, tmp_path):
    store, profile = ProfileStore(tmp_path), make_profile()
    store.save(profile).write_text("{")
    (item,) = store.list()
    assert item.profile is None
    assert "is damaged" in item.problem
    with pytest.raises(ProfileError, match="is damaged"):
        store.find(profile.key)


def test_a_file_under_the_wrong_name_is_refused(make_profile, tmp_path):
    store, profile = ProfileStore(tmp_path), make_profile()
    other = profile.key.model_copy(update={"version": "9.9"})
    store.save(profile).rename(store.path(other))
    with pytest.raises(ProfileError, match="not what its name says"):
        store.find(other)


def test_the_folder_follows_the_environment(tmp_path):
    assert user_store({CACHE_VARIABLE: str(tmp_path)}).folder == tmp_path / "profiles"
    default = user_store({}).folder
    assert default.parts[-2:] == ("nas-service", "profiles")


def test_two_processes_writing_at_once_leave_a_whole_file(make_profile, tmp_path):
    source, store = ProfileStore(tmp_path / "source"), ProfileStore(tmp_path / "store")
    profile = make_profile()
    path, origin = store.path(profile.key), source.save(profile)
    writers = [python(WRITER, str(origin), str(store.folder), mark) for mark in "ab"]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            seen.add(read_profile(path).licence[:1])
    assert [writer.returncode for writer in writers] == [0, 0]
    assert read_profile(path).licence[0] in "ab"
    assert seen <= {"a", "b"}
    assert [item.name for item in store.folder.iterdir()] == [path.name]


def test_reading_profiles_imports_no_runtime():
    code = ("import sys; from hardware_profiles import profile, store, table;"
            "sys.exit(bool({'onnx', 'onnxruntime', 'torch', 'scipy'} & set(sys.modules)))")
    assert python(code).wait() == 0
