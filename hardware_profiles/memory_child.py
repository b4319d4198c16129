"""The warm process of `hardware_profiles.memory`; a program, not a module to import.

stdin: length and threads as two little-endian 64-bit integers, then the model, again and again.
stdout: for each the growth of its peak resident memory in bytes as one, −1 if it did not run.
"""

import os
import struct

import numpy as np
import onnxruntime as ort

_CHUNK = 2**20
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


def status_bytes(name: str) -> int:
    """Returns an entry of this process's memory status."""
    with open("/proc/self/status") as status:  # noqa: PTH123  # pathlib would be one more import
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    raise KeyError(name)


def growth(model: bytes, threads: int) -> int:
    """Loads and runs a model; returns how far the peak of resident memory rose above the start."""
    before = status_bytes("VmRSS")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feeds = {source.name: np.ones([size if isinstance(size, int) else 1 for size in source.shape],
                                  _DTYPES[source.type]) for source in session.get_inputs()}
    for _ in range(2):
        session.run(None, feeds)
    return status_bytes("VmHWM") - before


def received(count: int) -> bytes:
    """Returns so many bytes of stdin, fewer where it ends."""
    parts = []
    while count and (part := os.read(0, min(count, _CHUNK))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def main() -> None:
    """Answers until stdin ends, or until the system takes a process: then all is lost track of."""
    while len(head := received(16)) == 16:
        length, threads = struct.unpack("<QQ", head)
        if os.fork() == 0:
            # The model is read here alone: memory that this program once had and gave back would
            # be there for the next model, which would then seem to need less.
            found = -1
            try:
                found = growth(received(length), threads)
            finally:
                os.write(1, struct.pack("<q", found))
                os._exit(0)
        if os.wait()[1] != 0:
            return


if __name__ == "__main__":
    main()
