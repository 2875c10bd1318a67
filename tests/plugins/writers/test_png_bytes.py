"""The PNG files that writers make, read by other programs."""

from __future__ import annotations

import io

import cv2
import imagecodecs
import numpy as np
import pytest
from PIL import Image

from cxrkit_plugins.writers.png import encode_png


@pytest.mark.parametrize("shape", [(40, 30), (1, 7), (7, 1), (33, 50, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_pictures_come_back_as_they_were(shape: tuple[int, ...], dtype: type) -> None:
    if len(shape) == 3 and dtype is np.uint16:
        dtype = np.uint8
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    content = encode_png(pixels)
    read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read[..., ::-1] if read.ndim == 3 else read, pixels)
    assert np.array_equal(imagecodecs.png_decode(content), pixels)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels)


def test_parts_of_a_picture_can_be_written_and_a_mask_is_of_8_bits() -> None:
    pixels = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)[::2, 5:25]
    assert np.array_equal(imagecodecs.png_decode(encode_png(pixels)), pixels)
    mask = np.zeros((500, 400), np.uint8)
    mask[100:300, 50:200] = 255
    content = encode_png(mask)
    assert Image.open(io.BytesIO(content)).mode == "L"
    assert len(content) < 3000
