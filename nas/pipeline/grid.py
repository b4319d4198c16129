"""Images as one picture. Legend: N images, C channels, H and W sides."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GAP = 1  # pixels between images


def grid_png(images_NCHW: NDArray[np.floating[Any]], *, columns: int) -> bytes:
    """Returns a PNG of images in −1 … 1, row by row, on white.

    Args:
        images_NCHW: Of 1 or 3 channels.
        columns: Images of a row.
    """
    pixels = np.round((images_NCHW + 1) * 127.5).astype(np.uint8).transpose(0, 2, 3, 1)
    buffer = io.BytesIO()
    Image.fromarray(_tiled(pixels, columns)).save(buffer, format="png")
    return buffer.getvalue()


def _tiled(images_NHWC: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    # One picture, (height, width) or (height, width, 3).
    count, height, width, channels = images_NHWC.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels),
                    255, np.uint8)
    for index, image in enumerate(images_NHWC):
        top, left = (index // columns) * (height + _GAP), (index % columns) * (width + _GAP)
        sheet[top:top + height, left:left + width] = image
    return sheet[..., 0] if channels == 1 else sheet
