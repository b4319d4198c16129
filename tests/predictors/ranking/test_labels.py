from pathlib import Path

import pytest

from nas.core.errors import DataError
from predictors.ranking.labels import load_labels, read_labels


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "text"), [
    ("labels.csv", "digest,value\nbb,2\naa,1.5\ncc,3\n"),
    ("labels.csv", "\ufeffdigest, value\r\nbb, 2\r\n\r\naa,1.5\r\ncc,3e0\r\n"),
    ("labels.json", '{"bb": 2, "aa": 1.5, "cc": 3}'),
])
def test_labels_come_in_the_order_asked_for(tmp_path: Path, name: str, text: str) -> None:
    path = written(tmp_path, name, text)
    assert load_labels(path, ["aa", "bb"]).tolist() == [1.5, 2.0]
    assert read_labels(path) == {"aa": 1.5, "bb": 2.0, "cc": 3.0}


def test_first_missing_architecture_is_named_with_the_count(tmp_path: Path) -> None:
    path = written(tmp_path, "labels.csv", "digest,value\naa,1\n")
    with pytest.raises(DataError, match=r"lack 2 of 3 architectures, the first is dd"):
        load_labels(path, ["aa", "dd", "ee"])


@pytest.mark.parametrize(("name", "text", "message"), [
    ("l.csv", "", "must begin with the line digest,value"),
    ("l.csv", "arch,accuracy\naa,1\n", "must begin with the line digest,value"),
    ("l.csv", "digest,value\naa,1,2\n", "row 1 has 3 fields, not 2"),
    ("l.csv", "digest,value\naa,1\naa,1\n", "aa is there twice"),
    ("l.csv", "digest,value\naa,high\n", "the value of aa is 'high', not a finite number"),
    ("l.csv", "digest,value\naa,nan\n", "not a finite number"),
    ("l.json", '{"aa": 1', "line 1: .*it is no JSON"),
    ("l.json", "[1, 2]", "must be one JSON object"),
    ("l.json", '{"aa": 1, "aa": 2}', "aa is there twice"),
    ("l.json", '{"aa": true}', "the value of aa is True, not a finite number"),
    ("l.json", '{"aa": null}', "the value of aa is None"),
    ("l.json", '{"aa": {"bb": 1}}', "not a finite number"),
    ("l.json", '{"aa": 1e999}', "the value of aa is inf"),
])
def test_files_of_another_form_are_errors(tmp_path: Path, name: str, text: str, message: str
                                          ) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_labels(written(tmp_path, name, text))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_is_not_there_or_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_labels(tmp_path / "binary.csv")
