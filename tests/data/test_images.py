from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from cxrkit.data.images import FILM_SUFFIXES, Film, read_film, read_labels, read_mask
from cxrkit.data.limits import SIDE_LIMIT
from cxrkit.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")

GREY = (np.random.default_rng(0).random((60, 50)) * 255).astype(np.uint8)
DEEP = (np.random.default_rng(1).random((60, 50)) * 65535).astype(np.uint16)
DISC = ((np.indices((60, 50)) - 25) ** 2).sum(0) < 200


def save(path: Path, pixels: np.ndarray, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)  # type: ignore[arg-type]
    return path


def refused(path: Path, *parts: str, read: Callable[..., object] = read_film) -> DataError:
    """The error of reading `path`: it names the file, says all `parts` and has a remedy."""
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(path) in caught.value.what
    for part in parts:
        assert part in str(caught.value)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif"])
def test_8_bit_films_come_back_as_they_were_written(tmp_path: Path, suffix: str) -> None:
    film = read_film(save(tmp_path / f"film.{suffix}", GREY))
    assert film.pixels.dtype == np.uint8
    np.testing.assert_array_equal(film.pixels, GREY)
    assert film.spacing is None


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_films_stay_16_bit(tmp_path: Path, suffix: str) -> None:
    film = read_film(save(tmp_path / f"film.{suffix}", DEEP))
    assert film.pixels.dtype == np.uint16
    np.testing.assert_array_equal(film.pixels, DEEP)


def test_big_endian_tiff_comes_in_native_order(tmp_path: Path) -> None:
    film = read_film(save(tmp_path / "film.tif", DEEP.astype(">u2")))
    assert film.pixels.dtype == np.uint16
    np.testing.assert_array_equal(film.pixels, DEEP)


def test_jpeg_is_read_nearly_as_it_was(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(GREY, (0, 0), 5)
    film = read_film(save(tmp_path / "film.jpg", smooth, quality=95))
    assert np.abs(film.pixels.astype(int) - smooth).max() < 8


def test_the_content_decides_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "film.jpg"
    save(tmp_path / "film.png", GREY).rename(path)
    np.testing.assert_array_equal(read_film(path).pixels, GREY)


def test_grey_in_equal_colour_channels_is_accepted(tmp_path: Path) -> None:
    opaque = np.full_like(GREY, 255)
    rgb = save(tmp_path / "rgb.png", np.dstack([GREY] * 3))
    rgba = save(tmp_path / "rgba.png", np.dstack([GREY] * 3 + [opaque]))
    grey_alpha = save(tmp_path / "la.png", np.dstack([GREY, opaque]))
    for path in (rgb, rgba, grey_alpha):
        np.testing.assert_array_equal(read_film(path).pixels, GREY)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_in_colour_channels_keeps_its_depth(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"film.{suffix}"
    cv2.imwrite(str(path), np.dstack([DEEP] * 3))
    film = read_film(path)
    assert film.pixels.dtype == np.uint16
    np.testing.assert_array_equal(film.pixels, DEEP)


def test_palette_films_are_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(255 - GREY).convert("L")
    image.putpalette([value for index in range(255, -1, -1) for value in [index] * 3])
    image.save(tmp_path / "film.png")
    np.testing.assert_array_equal(read_film(tmp_path / "film.png").pixels, GREY)


def test_colour_is_refused(tmp_path: Path) -> None:
    photograph = np.dstack([GREY, GREY // 2, 255 - GREY])
    refused(save(tmp_path / "photograph.png", photograph), "colour", "as grey")
    marked = np.dstack([DISC * np.uint8(255)] * 3)
    marked[3, 4] = (255, 0, 0)
    refused(save(tmp_path / "mask.png", marked), "colour", "as grey", read=read_mask)
    Image.fromarray(np.dstack([GREY] * 3)).convert("CMYK").save(tmp_path / "cmyk.jpg")
    refused(tmp_path / "cmyk.jpg", "CMYK")


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_a_grey_film_with_a_coloured_mark_is_grey_with_a_remark(tmp_path: Path, suffix: str) -> None:
    marked = np.dstack([GREY] * 3)
    marked[3:6, 4:9] = (255, 0, 0)
    film = read_film(save(tmp_path / f"film.{suffix}", marked))
    expected = GREY.copy()
    expected[3:6, 4:9] = 76  # 0.299 · 255
    np.testing.assert_array_equal(film.pixels, expected)
    assert film.remarks == ("0.5 % of the picture is coloured, a mark perhaps; it was read as grey",)


def png(pixels: np.ndarray, colour: int, raw: bytes | None = None, crc: int | None = None) -> bytes:
    """A PNG without filters, of other raw data or with another checksum of it."""

    def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
        return (
            struct.pack(">I", len(data))
            + kind
            + data
            + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)
        )

    big = pixels.astype(pixels.dtype.newbyteorder(">"))
    rows = b"".join(b"\0" + row.tobytes() for row in big) if raw is None else raw
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * pixels.itemsize, colour, 0, 0, 0)
    stream = chunk(b"IDAT", rows if raw is not None else zlib.compress(rows), crc)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + stream + chunk(b"IEND", b"")


COLOURS = {
    "grey": (GREY, 0),
    "16-bit grey": (DEEP, 0),
    "colour": (np.dstack([GREY] * 3), 2),
    "16-bit": (np.dstack([DEEP] * 3), 2),
}


@pytest.mark.parametrize("read", [read_film, read_mask, read_labels])
@pytest.mark.parametrize("kind", COLOURS)
def test_a_png_that_lacks_rows_or_has_a_wrong_checksum_is_refused(
    tmp_path: Path, kind: str, read: Callable[..., object]
) -> None:
    pixels, colour = COLOURS[kind]
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    whole = zlib.compress(rows)
    damaged = {
        "half the rows": png(pixels, colour, zlib.compress(rows[: len(rows) // 2])),
        "checksum of the chunk": png(pixels, colour, crc=1),
        "checksum of the stream": png(pixels, colour, whole[:-4] + b"abcd"),
        "no checksum": png(pixels, colour, whole[:-4]),
    }
    for name, data in damaged.items():
        path = tmp_path / f"{name}.png"
        path.write_bytes(data)
        refused(path, "truncated or corrupt", read=read)


@pytest.mark.parametrize("read", [read_film, read_mask])
@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif"])
def test_a_huge_size_over_little_data_is_refused(tmp_path: Path, suffix: str, read: Callable[..., object]) -> None:
    data = bytearray(save(tmp_path / f"small.{suffix}", GREY).read_bytes())
    height, width = GREY.shape
    order = ">" if suffix in ("png", "jpg") else "<"
    for old, new in ((height, 9000), (width, 9001)):
        data = data.replace(struct.pack(order + "H", old), struct.pack(order + "H", new))
    if suffix == "png":
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path = tmp_path / f"huge.{suffix}"
    path.write_bytes(data)
    tracemalloc.start()
    refused(path, read=read)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "packbits"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", ">u2", "i2", "u4", "i4", "f2", "f4", "f8"])
def test_tiff_of_all_kinds_of_numbers(tmp_path: Path, dtype: str, compression: str | None) -> None:
    stored = (DEEP // 600 - (50 if "i" in dtype else 0)).astype(dtype)
    tifffile.imwrite(tmp_path / "film.tif", stored, compression=compression, tile=(16, 16))
    tifffile.imwrite(tmp_path / "planes.tif", np.stack([stored] * 3), compression=compression, photometric="rgb")
    if stored.min() < 0:
        refused(tmp_path / "film.tif", "don't fit into 16 bits")
        return
    for name in ("film.tif", "planes.tif"):
        np.testing.assert_array_equal(read_film(tmp_path / name).pixels, stored)


@pytest.mark.parametrize("bits", [10, 12, 14])
def test_tiff_of_packed_bits(tmp_path: Path, bits: int) -> None:
    stored = DEEP >> (16 - bits)
    tifffile.imwrite(tmp_path / "film.tif", np.zeros((60, 50), np.uint16), compression="zlib", bitspersample=16)
    rows = [np.packbits((row[:, None] >> np.arange(bits - 1, -1, -1) & 1).astype(np.uint8)).tobytes() for row in stored]
    (tmp_path / "film.tif").write_bytes(tiff_of(b"".join(rows), bits))
    np.testing.assert_array_equal(read_film(tmp_path / "film.tif").pixels, stored)


def tiff_of(data: bytes, bits: int, compression: int = 1) -> bytes:
    """A little-endian TIFF of one strip, of GREY's size."""
    tags = {256: 50, 257: 60, 258: bits, 259: compression, 262: 1, 273: 8, 277: 1, 278: 60, 279: len(data)}
    data += bytes(len(data) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_damaged_tiff_strips_are_refused(tmp_path: Path) -> None:
    path, raw = tmp_path / "film.tif", GREY.tobytes()
    whole = zlib.compress(raw)
    path.write_bytes(tiff_of(whole, 8, 8))
    np.testing.assert_array_equal(read_film(path).pixels, GREY)
    for data, compression in (
        (raw[:1500], 1),
        (zlib.compress(raw[:1500]), 8),
        (whole[: len(whole) // 2], 8),
        (whole[:-4] + b"abcd", 8),
        (zlib.compress(bytes(10**7)), 8),
    ):
        path.write_bytes(tiff_of(data, 8, compression))
        refused(path)


def test_complex_and_strange_tiff_is_refused_by_its_kind(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "film.tif", GREY.astype(np.complex64))
    refused(tmp_path / "film.tif", "complex", "64-bit")
    tifffile.imwrite(tmp_path / "many.tif", np.dstack([GREY] * 6), photometric="minisblack", planarconfig="contig")
    refused(tmp_path / "many.tif", "6 a pixel")


def test_nothing_of_a_damaged_tiff_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(tiff_of(zlib.compress(GREY.tobytes()), 8, 8))
    for place in range(8, len(data), 7):
        path = tmp_path / "film.tif"
        path.write_bytes(data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :])
        with suppress(DataError):
            read_film(path)
    assert capfd.readouterr() == ("", "")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 10**6), value=st.integers(1, 255), suffix=st.sampled_from(["png", "tif"]))
def test_a_changed_byte_never_changes_pixels_unnoticed(tmp_path: Path, place: int, value: int, suffix: str) -> None:
    options = {} if suffix == "png" else {"compression": "tiff_deflate"}
    data = bytearray(save(tmp_path / f"film.{suffix}", DEEP, **options).read_bytes())
    stream = (
        (data.index(b"IDAT"), data.index(b"IEND")) if suffix == "png" else (10, len(zlib.compress(DEEP.tobytes())) - 10)
    )
    data[stream[0] + place % (stream[1] - stream[0])] ^= value
    path = tmp_path / f"damaged.{suffix}"
    path.write_bytes(data)
    with suppress(DataError):
        np.testing.assert_array_equal(read_film(path).pixels, DEEP)


def test_class_numbers_of_palettes_and_greys(tmp_path: Path) -> None:
    numbers = (GREY // 60).astype(np.uint8)
    palette = Image.fromarray(numbers)
    palette.putpalette([200, 3, 9] * 6)
    palette.save(tmp_path / "palette.png")
    palette.save(tmp_path / "palette.gif")
    save(tmp_path / "grey.png", numbers)
    save(tmp_path / "grey.tif", numbers.astype(np.float32))
    for name in ("palette.png", "palette.gif", "grey.png", "grey.tif"):
        np.testing.assert_array_equal(read_labels(tmp_path / name), numbers)
    refused(save(tmp_path / "half.tif", numbers / np.float32(2)), "whole numbers", read=read_labels)


def test_transparency_is_refused(tmp_path: Path) -> None:
    alpha = np.full_like(GREY, 255)
    alpha[0, 0] = 10
    refused(save(tmp_path / "film.png", np.dstack([GREY, alpha])), "transparent")


def test_float_tiff(tmp_path: Path) -> None:
    values = GREY.astype(np.float32) / 7
    film = read_film(save(tmp_path / "film.tif", values))
    assert film.pixels.dtype == np.float32
    np.testing.assert_array_equal(film.pixels, values)
    for bad in (np.nan, np.inf):
        values[2, 2] = bad
        refused(save(tmp_path / "bad.tif", values), "not finite")


def test_wide_integers_become_uint16_where_they_fit(tmp_path: Path) -> None:
    wide = DEEP.astype(np.int32)
    film = read_film(save(tmp_path / "wide.tif", wide))
    assert film.pixels.dtype == np.uint16
    np.testing.assert_array_equal(film.pixels, DEEP)
    refused(save(tmp_path / "signed.tif", wide - 40_000), "16 bits", "from -39994")
    refused(save(tmp_path / "large.tif", wide * 2), "16 bits")


@pytest.mark.parametrize("pixels", [GREY, DEEP, GREY.astype(np.float32)], ids=["uint8", "uint16", "float32"])
def test_tiff_in_which_low_is_white_is_turned_bright_for_bone(tmp_path: Path, pixels: np.ndarray) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[262] = 0
    # Pillow writes 8-bit pixels inverted for this tag, and wider ones as they are.
    film = read_film(save(tmp_path / "film.tif", pixels, tiffinfo=tags))
    stored = pixels.astype(float)
    if pixels.dtype == np.uint8:
        np.testing.assert_array_equal(film.pixels, pixels)
    else:
        np.testing.assert_allclose(film.pixels, stored.max() + stored.min() - stored)


@pytest.mark.parametrize("read", [read_film, read_mask])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_pictures_that_an_exif_tag_turns_are_refused(tmp_path: Path, suffix: str, read: Callable[..., object]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    refused(save(tmp_path / f"film{suffix}", GREY, exif=exif), "turned", "upright", read=read)
    exif[0x0112] = 1
    assert read_film(save(tmp_path / f"upright{suffix}", GREY, exif=exif)).pixels.shape == (60, 50)


def test_missing_folder_empty_and_text(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.png", "no such file")
    refused(tmp_path, "folder")
    (tmp_path / "empty.png").touch()
    refused(tmp_path / "empty.png", "empty")
    (tmp_path / "text.png").write_text("not a picture at all\n" * 50)
    refused(tmp_path / "text.png", "not a readable picture", "PNG")


def test_a_part_of_the_path_that_is_a_file(tmp_path: Path) -> None:
    save(tmp_path / "film.png", GREY)
    refused(tmp_path / "film.png" / "inner.png", "can't be read")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp", "gif"])
@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_pictures_are_refused(tmp_path: Path, suffix: str, share: float, compressed: bool) -> None:
    options = {"compression": "tiff_lzw"} if suffix == "tif" and compressed else {}
    whole = save(tmp_path / f"film.{suffix}", np.tile(GREY, (4, 4)), **options).read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(whole[: int(len(whole) * share)])
    refused(cut, "cut off" if "readable" in str(refused(cut)) else "truncated")


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    suffix=st.sampled_from(["png", "jpg", "tif", "gif"]),
    where=st.floats(0.1, 0.999),
    junk=st.binary(min_size=1, max_size=12),
)
def test_damaged_pictures_never_raise_anything_but_a_data_error(
    tmp_path: Path, suffix: str, where: float, junk: bytes
) -> None:
    damaged = bytearray(save(tmp_path / f"film.{suffix}", GREY).read_bytes())
    start = int(len(damaged) * where)
    damaged[start : start + len(junk)] = junk
    (tmp_path / f"film.{suffix}").write_bytes(damaged)
    # Anything but a DataError fails the test; damage that leaves a film readable may pass.
    with suppress(DataError):
        assert isinstance(read_film(tmp_path / f"film.{suffix}"), Film)


def test_masks_and_constant_pictures_are_not_films(tmp_path: Path) -> None:
    refused(save(tmp_path / "mask.png", DISC.astype(np.uint8) * 255), "looks like a mask")
    refused(save(tmp_path / "bits.png", DISC), "looks like a mask")
    refused(save(tmp_path / "black.png", np.zeros((9, 9), np.uint8)), "every pixel is 0")


@pytest.mark.parametrize("suffix", ["tif", "gif"])
def test_several_pages_are_refused(tmp_path: Path, suffix: str) -> None:
    pages = [Image.fromarray(GREY), Image.fromarray(255 - GREY)]
    pages[0].save(tmp_path / f"film.{suffix}", save_all=True, append_images=pages[1:])
    refused(tmp_path / f"film.{suffix}", "2 pages")


def test_monstrous_pictures_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = save(tmp_path / "long.png", np.zeros((2, SIDE_LIMIT), np.uint8))
    area = save(tmp_path / "area.png", GREY)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    refused(long, f"{SIDE_LIMIT} × 2")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    refused(area, "too large for a film")


def test_every_recognised_suffix_is_lower_case_with_a_dot() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in FILM_SUFFIXES)
    assert {".png", ".dcm", ".gif", ".jpeg", ".img"} <= set(FILM_SUFFIXES)


# Masks


@pytest.mark.parametrize("high", [1, 2, 128, 255])
def test_two_valued_masks(tmp_path: Path, high: int) -> None:
    mask = read_mask(save(tmp_path / "mask.png", DISC.astype(np.uint8) * np.uint8(high)))
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, DISC)


def test_1_bit_deep_float_and_colour_channel_masks(tmp_path: Path) -> None:
    byte = DISC.astype(np.uint8) * np.uint8(255)
    files = [
        save(tmp_path / "bits.png", DISC),
        save(tmp_path / "deep.png", DISC.astype(np.uint16) * np.uint16(65535)),
        save(tmp_path / "float.tif", DISC.astype(np.float32)),
        save(tmp_path / "rgb.png", np.dstack([byte] * 3)),
        save(tmp_path / "rgba.png", np.dstack([byte] * 3 + [np.full_like(byte, 255)])),
    ]
    for file in files:
        np.testing.assert_array_equal(read_mask(file), DISC)


@pytest.mark.parametrize("inverted", [False, True])
def test_palette_gif_as_in_scr(tmp_path: Path, inverted: bool) -> None:
    # The palette decides what is structure: the index of white may be 0.
    image = Image.fromarray((inverted != DISC).astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0] if inverted else [0, 0, 0, 255, 255, 255])
    image.save(tmp_path / "mask.gif")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.gif"), DISC)


def test_empty_and_full_masks(tmp_path: Path) -> None:
    assert not read_mask(save(tmp_path / "empty.png", np.zeros((7, 9), np.uint8))).any()
    full = read_mask(save(tmp_path / "full.png", np.full((7, 9), 255, np.uint8)))
    assert full.shape == (7, 9)
    assert full.all()


def test_grey_masks_need_a_threshold(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(DISC.astype(np.uint8) * np.uint8(255), (0, 0), 2)
    path = save(tmp_path / "soft.png", soft)
    levels = len(np.unique(soft))
    refused(path, f"holds {levels}", "--set data.mask_threshold=127", read=read_mask)
    np.testing.assert_array_equal(read_mask(path, threshold=127), soft > 127)
    lifted = save(tmp_path / "lifted.png", DISC.astype(np.uint8) + np.uint8(1))
    refused(lifted, "0 and one other value", read=read_mask)


def test_unreadable_masks(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere.png", "no such file", read=read_mask)
    colours = np.zeros((9, 9, 3), np.uint8)
    colours[3:6, 3:6, 0] = 255
    refused(save(tmp_path / "red.png", colours), "colour", read=read_mask)
    broken = DISC.astype(np.float32)
    broken[0, 0] = np.nan
    refused(save(tmp_path / "nan.tif", broken), "not finite", read=read_mask)
    (tmp_path / "mask.dcm").write_bytes(b"\0" * 200)
    refused(tmp_path / "mask.dcm", "DICOM", read=read_mask)


def test_real_films_and_masks(wingspan: Path) -> None:
    film = read_film(wingspan / "images" / "wingspan_001.png")
    assert film.pixels.shape == (512, 512)
    assert film.pixels.dtype == np.uint8
    mask = read_mask(wingspan / "masks" / "heart" / "wingspan_001.png")
    assert 0.01 < mask.mean() < 0.3
    refused(wingspan / "masks" / "heart" / "wingspan_001.png", "looks like a mask")
    refused(wingspan / "images" / "wingspan_001.png", "0 and one other value", read=read_mask)
