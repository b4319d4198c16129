import csv
from pathlib import Path

import numpy as np
import pytest

from hardware_profiles.profile import Device, Runtime
from hardware_profiles.profile_file import read_profile, write_profile
from hardware_profiles.store import ProfileStore
from hardware_profiles.table import METRIC, LatencyTable
from hardware_profiles.table_import import TableAbout, import_table, read_about, read_table
from hardware_profiles.verdict import require_enough
from nas.core.costs import ClosedFormCosts
from nas.core.errors import ProfileError
from supernets.mobilenet.ofa import ofa_mobilenet_v3, table_key

NOTE10 = (Path(__file__).parents[2].parent / "shared" / "data" / "latency"
          / "ofa_note10_mbv3_w1.2_lut.csv")
RESOLUTIONS = range(160, 225, 4)
ABOUT = """
source = "https://example.org/table"
licence = "Apache-2.0"
[device]
id = "phone"
name = "A phone"
cpu = "unknown"
cores = 8
memory_bytes = 8_000_000_000
os = "Android"
[runtime]
name = "unknown"
version = "unknown"
provider = "CPU"
"""


@pytest.fixture
def about() -> TableAbout:
    return TableAbout(
        device=Device(id="phone", name="A phone", cpu="unknown", cores=8, memory_bytes=8 * 10**9,
                      os="Android"),
        runtime=Runtime(name="unknown", version="unknown", provider="CPU"),
        source="https://example.org/table", licence="Apache-2.0")


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "table.csv"
        path.write_text(text)
        return path

    return write


@pytest.fixture
def table(tmp_path, vocabulary) -> Path:
    """A table of the tiny space: block i takes 1 + i ms at size 8."""
    path = tmp_path / "tiny.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "key", "latency_ms", "std", "count"])
        for index, block in enumerate(vocabulary.blocks):
            writer.writerows([[8, block.key, 1 + index, 0.1, 50], [9, block.key, 99, "", ""]])
    return path


def test_a_network_costs_the_sum_of_its_rows(table, about, space, vocabulary, tmp_path):
    profile = import_table(read_table(table, only={"size": "8"}), about, space=space,
                           vocabulary=vocabulary.blocks, key_of=lambda block: block.key)
    write_profile(profile, tmp_path / "profile.json")
    again = read_profile(tmp_path / "profile.json")
    assert again == profile
    codes = space.sample_codes(50, np.random.default_rng(0))
    found = LatencyTable(again, vocabulary.blocks, vocabulary.block_ids).predict(METRIC, codes)
    expected = [sum(1.0 + i for i in row if i >= 0) for row in vocabulary.block_ids(codes)]
    np.testing.assert_allclose(found.value, expected)
    np.testing.assert_allclose(found.upper, expected)


def test_it_states_no_error_and_says_so(table, about, space, vocabulary, tmp_path):
    profile = import_table(read_table(table, only={"size": "8"}), about, space=space,
                           vocabulary=vocabulary.blocks, key_of=lambda block: block.key)
    assert (profile.calibration.held_out, profile.calibration.test_count) == (None, 0)
    assert "never compared with the whole network" in profile.validity.warnings[0]
    assert (profile.statistic, profile.provenance) == ("published", {"source": about.source})
    with pytest.raises(ProfileError, match="no stated error to check"):
        require_enough(40, profile.calibration)
    store = ProfileStore(tmp_path / "store")
    store.save(profile)
    assert store.find(profile.key) == profile


@pytest.mark.parametrize(("text", "message"), [
    ("key,latency_ms\na,nan\n", r"line 2: latency_ms is 'nan', not a positive number"),
    ("key,latency_ms\na,1\nb,0\n", r"line 3: latency_ms is '0', not a positive"),
    ("key,mean_ms\na,-1\n", r"line 2: mean_ms is '-1', not a positive"),
    ("key,mean_ms\na\n", r"line 2: mean_ms is None, not a positive"),
    ("key,mean_ms\na,inf\n", r"line 2: mean_ms is 'inf', not a positive"),
    ("key,mean_ms\na,fast\n", r"line 2: mean_ms is 'fast', not a positive"),
    ("key,mean_ms\na,1\na,2\n", r"line 3: 'a' is there twice"),
    ("key,mean_ms,count\na,1,-3\n", r"line 2: count is '-3', not a number of runs"),
    ("key,mean_ms,std\na,1,nan\n", r"line 2: std is 'nan', not a number of ms"),
    ("name,mean_ms\na,1\n", r"has the columns name, mean_ms; it needs key and latency_ms or"),
    ("key,ms\na,1\n", r"has the columns key, ms; it needs key"),
    ("", r"has the columns \(none\)"),
    ("key,mean_ms\n", r"has no rows$"),
])
def test_a_bad_table_is_one_line(write, text, message):
    with pytest.raises(ProfileError, match=message) as caught:
        read_table(write(text))
    assert "\n" not in str(caught.value)


def test_rows_are_picked_by_other_columns(write):
    path = write("size,key,mean_ms\n1,a,1\n2,a,2\n")
    assert read_table(path, only={"size": "2"})["a"].latency_ms == 2.0
    with pytest.raises(ProfileError, match="no rows with size 3"):
        read_table(path, only={"size": "3"})
    with pytest.raises(ProfileError, match="no column 'depth'; it has size, key, mean_ms"):
        read_table(path, only={"depth": "3"})


def test_bytes_that_are_no_text_are_an_error(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"key,mean_ms\n\xff\xfe,1\n")
    with pytest.raises(ProfileError, match="is no CSV file"):
        read_table(path)
    with pytest.raises(ProfileError, match="cannot be read"):
        read_table(tmp_path)


def test_a_missing_block_is_an_error(table, about, space, vocabulary):
    times = read_table(table, only={"size": "8"})
    del times[vocabulary.blocks[3].key]
    with pytest.raises(ProfileError, match=r"lacks 1 of the .* blocks of space tiny/1"):
        import_table(times, about, space=space, vocabulary=vocabulary.blocks,
                     key_of=lambda block: block.key)


def test_the_description_is_read_whole_or_refused(tmp_path, about):
    path = tmp_path / "about.toml"
    path.write_text(ABOUT)
    assert read_about(path) == about
    for text, message in ((ABOUT.replace("licence", "license"), "licence: Field required"),
                          (ABOUT.replace('cpu = "unknown"', ""), "device.cpu: Field required"),
                          ("source = ", "is no TOML file")):
        path.write_text(text)
        with pytest.raises(ProfileError, match=message):
            read_about(path)
    with pytest.raises(ProfileError, match="cannot be read"):
        read_about(tmp_path / "none.toml")


needs_note10 = pytest.mark.skipif(not NOTE10.is_file(), reason="no Note 10 table beside the "
                                                                "repository")


@needs_note10
@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_the_note_10_table_has_the_blocks_of_its_space_and_no_others(resolution):
    times = read_table(NOTE10, only={"resolution": str(resolution)})
    keys = [table_key(block) for block in ofa_mobilenet_v3(resolution=resolution).vocabulary]
    assert sorted(keys) == sorted(times)


@needs_note10
def test_the_note_10_table_ranks_networks_sensibly(about):
    parts = ofa_mobilenet_v3(resolution=224)
    profile = import_table(read_table(NOTE10, only={"resolution": "224"}), about,
                           space=parts.space, vocabulary=parts.vocabulary, key_of=table_key)
    latency = LatencyTable(profile, parts.vocabulary, parts.block_ids)
    codes = parts.space.sample_codes(20_000, np.random.default_rng(0))
    ms = latency.predict(METRIC, codes).value
    assert 20 < ms.min() < ms.max() < 80
    ends = latency.predict(METRIC, parts.space.encode(
        [parts.space.extreme(largest=False), parts.space.extreme(largest=True)])).value
    assert ends[0] < ms.min() < ms.max() < ends[1]
    for name in (gene.name for gene in parts.space.genes if gene.condition is None):
        choice = codes[:, parts.space.positions[name]]
        means = [ms[choice == value].mean() for value in range(3)]
        assert means[0] < means[2], name
    macs = ClosedFormCosts(parts.vocabulary, parts.block_ids).predict("macs", codes).value
    assert np.corrcoef(macs, ms)[0, 1] > 0.9


@needs_note10
def test_a_larger_image_costs_more(about):
    mean_ms = []
    for resolution in (160, 192, 224):
        parts = ofa_mobilenet_v3(resolution=resolution)
        times = read_table(NOTE10, only={"resolution": str(resolution)})
        profile = import_table(times, about, space=parts.space, vocabulary=parts.vocabulary,
                               key_of=table_key)
        codes = parts.space.sample_codes(200, np.random.default_rng(0))
        latency = LatencyTable(profile, parts.vocabulary, parts.block_ids)
        mean_ms.append(latency.predict(METRIC, codes).value.mean())
    assert mean_ms == sorted(mean_ms)
