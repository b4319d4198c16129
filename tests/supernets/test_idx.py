import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from nas.core.errors import DataError
from supernets.tasks.idx import read_idx, read_split

IMAGES = np.arange(4 * 3 * 2, dtype=np.uint8).reshape(4, 3, 2)
LABELS = np.array([0, 1, 2, 1], dtype=np.uint8)


def idx(array: np.ndarray, *, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + (
        array.tobytes())


def write(folder: Path, images: bytes, labels: bytes, *, zipped: bool) -> None:
    for name, raw in (("train-images-idx3-ubyte", images), ("train-labels-idx1-ubyte", labels)):
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(raw) if zipped else raw)


@pytest.mark.parametrize("zipped", [True, False])
def test_reads_images_and_labels(tmp_path: Path, zipped: bool) -> None:
    write(tmp_path, idx(IMAGES), idx(LABELS), zipped=zipped)
    images, labels = read_split(tmp_path, "train")
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)
    assert images.dtype == labels.dtype == np.uint8


def test_a_plain_file_goes_before_a_zipped_one(tmp_path: Path) -> None:
    write(tmp_path, idx(IMAGES[:1]), idx(LABELS[:1]), zipped=True)
    write(tmp_path, idx(IMAGES), idx(LABELS), zipped=False)
    assert len(read_split(tmp_path, "train")[0]) == 4


def one_line(error: pytest.ExceptionInfo[DataError]) -> bool:
    return "\n" not in str(error.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist; give one with train-") as error:
        read_split(tmp_path / "nowhere", "train")
    assert one_line(error)
    assert error.value.exit_code == 2


def test_missing_file(tmp_path: Path) -> None:
    write(tmp_path, idx(IMAGES), idx(LABELS), zipped=False)
    with pytest.raises(DataError, match=r"has neither t10k-images-idx3-ubyte nor .*\.gz"):
        read_split(tmp_path, "t10k")


def test_counts_that_differ(tmp_path: Path) -> None:
    write(tmp_path, idx(IMAGES), idx(LABELS[:3]), zipped=False)
    with pytest.raises(DataError, match="4 train images but 3 labels"):
        read_split(tmp_path, "train")


HUGE = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**31, 2**31, 4)  # 2^64 wraps to 0 in 64 bits


@pytest.mark.parametrize(("raw", "message"), [
    (idx(IMAGES)[:-1], "has 39 bytes where its header promises 40"),
    (idx(IMAGES) + b"\0", "has 41 bytes where its header promises 40"),
    (idx(IMAGES)[:10], "is no idx file"),
    (b"", "is no idx file"),
    (b"\x89PNG" + bytes(100), "is no idx file"),
    (idx(IMAGES, kind=13), "is no idx file of unsigned bytes"),
    (idx(LABELS), "with 3 axes"),
    (HUGE, "promises 18446744073709551632"),
])
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_files(tmp_path: Path, raw: bytes, message: str, zipped: bool) -> None:
    path = tmp_path / ("images.gz" if zipped else "images")
    path.write_bytes(gzip.compress(raw) if zipped else raw)
    with pytest.raises(DataError, match=message) as error:
        read_idx(path, axes=3)
    assert one_line(error)


@pytest.mark.parametrize("damage", [
    lambda raw: raw[:-12],  # the end is missing
    lambda raw: raw[:12],
    lambda raw: raw[:10] + bytes(255 - b for b in raw[10:]),  # no deflate stream
    lambda raw: raw[:-8] + bytes(8),  # wrong checksum
    lambda raw: raw + b"tail",
    lambda _: idx(IMAGES),  # not zipped at all
], ids=["short", "header", "stream", "checksum", "tail", "plain"])
def test_damaged_gzip(tmp_path: Path, damage: object) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(damage(gzip.compress(idx(IMAGES))))
    with pytest.raises(DataError, match=r"images\.gz cannot be read .*; fetch the file again") as e:
        read_idx(path, axes=3)
    assert one_line(e)
