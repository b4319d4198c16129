from pathlib import Path

import pytest
from faults import full_disk

from nas.core.errors import DiskError
from nas.service.event_log import EventLog, EventReader, read_events


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def written(path: Path, count: int) -> None:
    with EventLog(path, clock=lambda: 12.3456) as log:
        for done in range(count):
            log.append("progress", stage="search", done=done)


def test_events_are_numbered_from_one_and_go_on_in_another_process(path: Path) -> None:
    written(path, 2)
    written(path, 1)
    assert [event["seq"] for event in read_events(path)] == [1, 2, 3]
    assert read_events(path, after=2) == [
        {"seq": 3, "t": 12.346, "type": "progress", "stage": "search", "done": 0}]


def test_there_are_no_events_before_the_file(path: Path) -> None:
    assert read_events(path) == []


@pytest.mark.parametrize("torn", [b'{"seq":3', b'{"seq":3}', b"\0\0\0\0\n", b'{"seq":7}\n',
                                  b"[]\n"])
def test_a_torn_line_is_not_read_and_then_cut_off(path: Path, torn: bytes) -> None:
    written(path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [event["seq"] for event in read_events(path)] == [1, 2]
    written(path, 1)
    assert path.read_bytes().startswith(whole)
    assert [event["seq"] for event in read_events(path)] == [1, 2, 3]


def test_a_log_torn_anywhere_goes_on_with_contiguous_numbers(path: Path, tmp_path: Path) -> None:
    written(path, 3)
    whole = path.read_bytes()
    for end in range(len(whole) + 1):
        torn = tmp_path / f"{end}.jsonl"
        torn.write_bytes(whole[:end])
        kept = len(read_events(torn))
        written(torn, 1)
        assert [event["seq"] for event in read_events(torn)] == [*range(1, kept + 2)]


def test_a_reader_gives_each_event_once_as_it_comes(path: Path) -> None:
    reader = EventReader(path, after=1)
    assert reader.read() == []
    with EventLog(path) as log:
        log.append("state", state="running")
        assert reader.read() == []
        log.append("state", state="done")
        log.append("state", state="queued")
        assert [event["state"] for event in reader.read()] == ["done", "queued"]
        assert reader.read() == []
        assert reader.seq == 3


def test_a_full_disk_is_one_line_and_leaves_nothing_of_the_event(path: Path) -> None:
    written(path, 1)
    before = path.read_bytes()
    with EventLog(path) as log, full_disk(len(before) + 10):
        with pytest.raises(DiskError, match=r"events\.jsonl: File too large"):
            log.append("state", state="done")
        assert path.read_bytes() == before
    written(path, 1)
    assert [event["seq"] for event in read_events(path)] == [1, 2]


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match=r"no/events\.jsonl: No such file"):
        EventLog(tmp_path / "no" / "events.jsonl")
