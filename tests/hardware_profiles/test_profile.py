import dataclasses
import json

import pytest

from hardware_profiles.identity import ProfileKey, generator_hash, require_space
from hardware_profiles.profile_file import read_profile, write_profile
from nas.core.errors import ProfileError
from nas.core.space import GeneSpace


def test_a_profile_is_read_as_it_was_written(make_profile, tmp_path):
    profile = make_profile()
    write_profile(profile, tmp_path / "new" / "a.json")
    assert read_profile(tmp_path / "new" / "a.json") == profile
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.json"]


@pytest.mark.parametrize(("text", "message"), [
    ("{", "is damaged"),
    ("", "is damaged"),
    ("[1, 2]", "schema version None"),
    ('{"schema_version": 1}', "schema version 1, this program reads 2; run `nas profile run`"),
    ('{"schema_version": 3}', "schema version 3, this program reads 2; install a newer"),
    ('{"schema_version": 2}', r"is damaged \(id: Field required\)"),
    ("\x00\x00", "is damaged"),
    ("[" * 100_000, "is damaged"),
])
def test_a_file_that_is_no_profile_is_an_error_with_its_remedy(text, message, tmp_path):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ProfileError, match=message) as caught:
        read_profile(tmp_path / "a.json")
    assert "nas profile run" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [
    {"licence": 3}, {"extra": 1}, {"calibration": None}, {"created": "yesterday"},
    {"kind": "guessed"}, {"provenance": {"seed": float("nan")}},
])
def test_a_wrong_field_is_named(damage, make_profile, tmp_path):
    payload = json.loads(make_profile().model_dump_json()) | damage
    (tmp_path / "a.json").write_text(json.dumps(payload))
    with pytest.raises(ProfileError, match=f"damaged \\({next(iter(damage))}"):
        read_profile(tmp_path / "a.json")


def test_a_number_that_is_not_finite_is_refused(make_profile, tmp_path):
    payload = json.loads(make_profile().model_dump_json())
    payload["calibration"]["empty_ms"] = float("inf")
    (tmp_path / "a.json").write_text(json.dumps(payload))
    with pytest.raises(ProfileError, match=r"calibration\.empty_ms"):
        read_profile(tmp_path / "a.json")


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ProfileError, match=r"cannot be read \(No such file"):
        read_profile(tmp_path / "none.json")


def test_a_folder_that_cannot_be_written_is_an_error(make_profile, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ProfileError, match="NAS_CACHE_DIR"):
        write_profile(make_profile(), tmp_path / "file" / "a.json")


def test_another_space_or_generator_is_refused(make_profile, space):
    profile = make_profile()
    require_space(profile, space=space.id, generator=profile.generator)
    with pytest.raises(ProfileError, match="is of space tiny/1, not other/1"):
        require_space(profile, space="other/1", generator=profile.generator)
    with pytest.raises(ProfileError, match="another version of space tiny/1"):
        require_space(profile, space=space.id, generator="0" * 16)


def test_the_generator_hash_follows_genes_and_blocks(space, vocabulary):
    base = generator_hash(space, vocabulary.blocks)
    assert base == generator_hash(space, list(vocabulary.blocks))
    assert base != generator_hash(space, vocabulary.blocks[1:])
    gene = dataclasses.replace(space.genes[0], choices=space.genes[0].choices[:1])
    assert base != generator_hash(GeneSpace(space.id, (gene,)), vocabulary.blocks)


def test_file_names_differ_with_every_part_of_the_key(make_profile):
    key: ProfileKey = make_profile().key
    names = {key.name("measured")}
    for name, value in key.model_dump().items():
        other = value + 1 if isinstance(value, int) else value + "x"
        names.add(key.model_copy(update={name: other}).name("measured"))
    assert len(names) == 1 + len(ProfileKey.model_fields)
    assert all("/" not in name for name in names)
