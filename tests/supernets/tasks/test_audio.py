"""Single audio files: what is read of them, and what is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from nas.core.errors import DataError, InputError
from supernets.tasks.audio import Reading, read_wave

WAVE = (0.3 * np.sin(np.arange(8000) / 5)).astype(np.float32)


def written(path: Path, wave: np.ndarray = WAVE, rate: int = 16_000,
            subtype: str = "FLOAT") -> Path:
    soundfile.write(path, wave, rate, subtype=subtype)
    return path


def test_samples_come_as_they_were_written(tmp_path: Path) -> None:
    found = read_wave(written(tmp_path / "x.wav"))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, WAVE)


@pytest.mark.parametrize("name", ["x.wav", "x.flac"])
def test_integers_are_scaled_to_one(tmp_path: Path, name: str) -> None:
    found = read_wave(written(tmp_path / name, subtype="PCM_16"))
    np.testing.assert_allclose(found, WAVE, atol=2**-15)


def test_other_rates_are_resampled_where_asked(tmp_path: Path) -> None:
    time = np.arange(8000) / 8000
    path = written(tmp_path / "x.wav", np.sin(2 * np.pi * 440 * time).astype(np.float32), 8000)
    with pytest.raises(DataError, match=r"8000 Hz, not 16000; .*resample, with soxr.*sox IN"):
        read_wave(path)
    found = read_wave(path, Reading(resample=True))
    assert found.dtype == np.float32
    assert len(found) == 16_000
    spectrum = np.abs(np.fft.rfft(found))
    assert spectrum.argmax() == 440


@pytest.mark.parametrize(("wave", "message"), [
    (np.stack([WAVE, WAVE], 1), "has 2 channels"),
    (np.zeros(8000, np.float32), "is silent"),
    (np.full(8000, 0.5, np.float32), "is silent"),
    (WAVE * 1e-4, "is silent"),
    (WAVE[:399], "399 samples at 16000 Hz, fewer than the 400"),
    (WAVE[:0], "holds no samples"),
    (np.where(np.arange(8000) == 70, np.nan, WAVE), "not finite"),
    (np.where(np.arange(8000) == 70, np.inf, WAVE), "not finite"),
])
def test_clips_that_are_refused(tmp_path: Path, wave: np.ndarray, message: str) -> None:
    path = written(tmp_path / "x.wav", wave)
    with pytest.raises(DataError, match=message) as caught:
        read_wave(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_shortest_clip_is_counted_at_the_rate_that_is_read(tmp_path: Path) -> None:
    assert len(read_wave(written(tmp_path / "x.wav", WAVE[:400]))) == 400
    path = written(tmp_path / "y.wav", WAVE[:250], 8000)
    assert len(read_wave(path, Reading(resample=True))) == 500
    with pytest.raises(DataError, match="500 samples"):
        read_wave(path, Reading(resample=True, shortest=501))
    with pytest.raises(InputError, match="0 samples"):
        Reading(shortest=0)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "is empty"), (b"RIFF", "cannot be read"), (b"no audio at all", "cannot be read")])
def test_damaged_files(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_wave(tmp_path / "x.wav")
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_off(tmp_path: Path) -> None:
    path = written(tmp_path / "x.wav", subtype="PCM_16")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    with pytest.raises(DataError, match=f"cut off: it has {len(whole) - 1000} of {len(whole)}"):
        read_wave(path)
    path.write_bytes(whole[:4] + b"\xff\xff\xff\xff" + whole[8:])  # as a stream has it
    assert len(read_wave(path)) == 8000


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_wave(tmp_path / "x.wav")


@pytest.mark.parametrize("package", ["soundfile", "soxr"])
def test_a_package_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   package: str) -> None:
    path = written(tmp_path / "x.wav", rate=8000)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"{package} is not installed; `pip install") as caught:
        read_wave(path, Reading(resample=True))
    assert not isinstance(caught.value, DataError)
