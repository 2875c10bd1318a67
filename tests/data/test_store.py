from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from cxrkit.config import ClaheConfig, PreprocessConfig
from cxrkit.data import making
from cxrkit.data.making import read_ahead
from cxrkit.data.preprocess import preprocess_film, preprocess_mask
from cxrkit.data.store import Store, open_store
from cxrkit.errors import DataError, StorageError
from cxrkit.files import cache_folder
from cxrkit.interfaces import Dataset, Entry, Sample

pytestmark = pytest.mark.usefixtures("cache")
SMALL = PreprocessConfig(size=32)


def make(dataset: Dataset, **changes: Any) -> Store:
    options: dict[str, Any] = {"name": "chests", "parameters": {"a": 1}, "preprocess": SMALL, "structures": None}
    return open_store(dataset, **(options | changes))


def test_what_is_stored_is_what_preprocessing_gives(chests: Callable[..., Any]) -> None:
    dataset = chests()
    store = make(dataset, structures=["heart", "left_lung"])
    assert store.structures == ("heart", "left_lung")
    assert store.ids == tuple(f"film_00{n}" for n in range(6))
    assert store.groups[2] == "patient_002"
    assert (len(store), store.size) == (6, 32)
    images, masks = store.load([4, 1])
    assert (images.shape, masks.shape) == ((2, 32, 32), (2, 2, 32, 32))
    assert (images.dtype, masks.dtype) == (np.uint16, np.bool_)
    for position, index in enumerate([4, 1]):
        sample = dataset.read(store.entries[index])
        image, placement = preprocess_film(sample.image, SMALL, spacing=sample.spacing)
        np.testing.assert_array_equal(images[position], image)
        np.testing.assert_array_equal(masks[position, 1], preprocess_mask(sample.masks["left_lung"], placement))
        assert store.placements[index] == placement
        assert store.spacing(index) == placement.spacing == pytest.approx((1.0, 144 * 0.2 / 29))


def test_unknown_spacing_stays_unknown(chests: Callable[..., Any]) -> None:
    store = make(chests(change={"film_001": lambda s: replace(s, spacing=None)}))
    assert store.spacing(1) is None
    assert store.spacing(0) is not None


def test_settings_that_came_later_are_no_part_of_a_key_at_their_defaults() -> None:
    # As written by the first version that had a store.
    then = {
        "size": 32,
        "fit": "pad",
        "resize": "area",
        "clahe": {"clip_limit": 8.0, "tiles": 8, "bits": 16},
    }
    before = PreprocessConfig(size=32, resize_as="stored")
    assert before.stored() == then
    assert before.model_copy(update={"levels": "robust"}).stored() == then | {"levels": "robust"}
    assert "levels" not in PreprocessConfig().model_dump()
    assert before.model_copy(update={"remove_borders": True}).stored() == then | {"remove_borders": True}


def test_borders_and_remarks_are_kept(chests: Callable[..., Any]) -> None:
    def framed(sample: Sample) -> Sample:
        image, masks = np.pad(sample.image, 60), {name: np.pad(mask, 60) for name, mask in sample.masks.items()}
        return replace(sample, image=image, masks=masks, remarks=("it lies on its side",))

    preprocess = SMALL.model_copy(update={"remove_borders": True})
    plain = make(chests(), preprocess=preprocess)
    store = make(chests(change={"film_001": framed}), preprocess=preprocess, parameters={"a": 2})
    again = make(chests(), preprocess=preprocess, parameters={"a": 2})
    assert (again.placements, again.remarks) == (store.placements, {"film_001": ("it lies on its side",)})
    assert plain.remarks == {}
    for mine, other in zip(store.load(range(6)), plain.load(range(6)), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert store.spacing(1) == plain.spacing(1)
    assert store.content_hash != plain.content_hash, "it comes back to another size"


def test_batches(chests: Callable[..., Any]) -> None:
    store = make(chests())
    batch = store.batch([3, 0, 3], background=True, standardise=True)
    images, targets = batch.images, batch.targets
    assert batch.known is None
    assert (images.shape, targets.shape) == ((3, 1, 32, 32), (3, 4, 32, 32))
    assert images.dtype == targets.dtype == torch.float32
    assert store.channels(background=True) == ("left_lung", "right_lung", "heart", "background")
    torch.testing.assert_close(images[0], images[2])
    assert set(targets.unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(targets[:, 3], 1 - targets[:, :3].amax(dim=1))
    # The padding left and right of the content is background.
    assert targets[:, 3, :, 0].all()
    content = images[0, 0][store.placements[3].region]
    assert float(content.mean()) == pytest.approx(0, abs=1e-4)
    assert float(content.std(correction=0)) == pytest.approx(1, abs=1e-3)
    plain = store.batch([3], background=False, standardise=False)
    assert plain.targets.shape == (1, 3, 32, 32)
    assert 0 <= float(plain.images.min()) < float(plain.images.max()) <= 1
    assert store.batch([], background=True, standardise=True).images.shape == (0, 1, 32, 32)


def labelled(*rows: tuple[str, ...] | None) -> list[Entry]:
    return [Entry(f"film_00{n}", f"p{n}", labelled=row) for n, row in enumerate(rows)]


def without(name: str) -> Callable[[Sample], Sample]:
    return lambda sample: replace(sample, masks={n: mask for n, mask in sample.masks.items() if n != name})


def test_a_store_says_which_masks_its_films_have(chests: Callable[..., Any]) -> None:
    entries = labelled(None, ("right_lung", "left_lung"), ("heart",))
    change = {"film_001": without("heart"), "film_002": without("left_lung")}
    store = make(chests(entries=entries, change=change))
    batch = store.batch([2, 0, 1], background=True, standardise=True)
    T, F = True, False
    assert batch.known is not None
    assert batch.known.tolist() == [[F, F, T, F], [T, T, T, T], [T, T, F, F]]
    assert store.known_channels([1], background=False).tolist() == [[T, T, F]]
    assert not store.load([2])[1][0, :2].any()
    with h5py.File(store.path) as file:
        assert file["known"][:].tolist() == [[T, T, T], [T, T, F], [F, F, T]]
    dataset = chests(entries=entries, change=change)
    assert make(dataset).content_hash == store.content_hash
    assert dataset.reads == []
    with h5py.File(store.path, "r+") as file:
        file["known"][0] = [T, T, F]
    make(dataset)
    assert sorted(dataset.reads) == list(store.ids), "damaged"


def test_stores_of_complete_data_are_those_from_before_films_could_lack_masks(chests: Callable[..., Any]) -> None:
    plain = make(chests(entries=labelled(None, None)))
    with h5py.File(plain.path) as file:
        assert set(file) == {"images", "masks", "original_shape", "content", "spacing", "image_hashes", "recipe"}
        assert "known" not in json.loads(file["recipe"][()])
        assert "labelled" not in file["recipe"][()].decode()
    assert make(chests(entries=labelled(None, ("heart", "left_lung", "right_lung")))).path == plain.path
    # What matters is the structures that are asked for.
    lacking = labelled(("heart",), ("heart", "left_lung"))
    assert make(chests(entries=lacking), structures=["heart"]).known is None


def test_equal_planes_of_which_one_is_unknown_are_other_data(chests: Callable[..., Any]) -> None:
    def empty(sample: Sample) -> Sample:
        return replace(sample, masks={**sample.masks, "heart": np.zeros_like(sample.masks["heart"])})

    absent = make(chests(change={"film_001": empty}, entries=labelled(None, None)), name="absent")
    unknown = make(chests(change={"film_001": without("heart")}, entries=labelled(None, ("left_lung", "right_lung"))))
    assert np.array_equal(absent.load([0, 1])[1], unknown.load([0, 1])[1])
    assert absent.content_hash != unknown.content_hash


def test_films_without_any_of_the_structures_are_left_out_and_counted(chests: Callable[..., Any]) -> None:
    dataset = chests(entries=labelled(("heart",), ("left_lung",), ()))
    with pytest.warns(UserWarning, match="2 of the 3 films have no mask of 'heart': they are left out"):
        assert make(dataset, structures=["heart"]).ids == ("film_000",)


def test_a_store_is_used_again(chests: Callable[..., Any], cache: Path) -> None:
    first = make(chests())
    written = first.path.stat().st_mtime_ns
    dataset, calls = chests(), []
    second = make(
        dataset, progress=lambda *args: calls.append(args), preprocess=SMALL.model_copy(update={"standardise": False})
    )
    assert second.path == first.path
    assert second.path.stat().st_mtime_ns == written
    assert dataset.reads == []
    assert calls == []
    assert second.content_hash == first.content_hash
    assert second.placements == first.placements
    assert [file.name for file in cache.iterdir()] == [first.path.name]


def test_progress_counts_every_film(chests: Callable[..., Any]) -> None:
    calls: list[tuple[int, int]] = []
    make(chests(), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(number, 6) for number in range(1, 7)]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "others"},
        {"parameters": {"a": 2}},
        {"structures": ["heart"]},
        {"structures": ["heart", "right_lung", "left_lung"]},
        {"preprocess": PreprocessConfig(size=48)},
        {"preprocess": PreprocessConfig(size=32, fit="stretch")},
        {"preprocess": PreprocessConfig(size=32, resize="linear")},
        {"preprocess": PreprocessConfig(size=32, clahe=None)},
        {"preprocess": PreprocessConfig(size=32, clip_greys=0.01)},
        {"preprocess": PreprocessConfig(size=32, levels="robust")},
        {"preprocess": PreprocessConfig(size=32, clahe=ClaheConfig(bits=8))},
    ],
    ids=str,
)
def test_other_settings_make_another_store_and_keep_the_old(
    chests: Callable[..., Any], changes: dict[str, Any]
) -> None:
    first = make(chests())
    second = make(chests(), **changes)
    assert second.path != first.path
    assert first.path.is_file()


def test_changed_files_make_another_store(chests: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = chests()
    paths = [make(dataset).path]
    file = dataset.root / "film_003.raw"
    file.write_bytes(b"longer")
    paths.append(make(dataset).path)
    state = file.stat()
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1_000_000))
    paths.append(make(dataset).path)
    paths.append(make(chests(count=5)).path)
    entries = [replace(entry, fold="fold1") for entry in dataset.entries()]
    paths.append(make(chests(entries=entries)).path)
    monkeypatch.setattr(making, "FORMAT", making.FORMAT + 1)
    monkeypatch.setattr("cxrkit.data.store.FORMAT", making.FORMAT)
    paths.append(make(dataset).path)
    assert len(set(paths)) == len(paths)


def test_the_content_hash_tells_data_apart(chests: Callable[..., Any]) -> None:
    def brighter(sample: Sample) -> Sample:
        image = sample.image.copy()
        image[80, 70] = 65535
        return replace(sample, image=image)

    def mask_pixel(sample: Sample) -> Sample:
        heart = sample.masks["heart"].copy()
        heart[:20] = True
        return replace(sample, masks={**sample.masks, "heart": heart})

    changes = [{}, {"film_002": brighter}, {"film_002": mask_pixel}, {"film_002": lambda s: replace(s, spacing=None)}]
    hashes = [make(chests(change=change), name=f"n{n}").content_hash for n, change in enumerate(changes)]
    assert len(set(hashes)) == len(hashes)
    assert make(chests(), name="same").content_hash == hashes[0]


@pytest.mark.parametrize(
    "damage", ["truncated", "emptied", "junk", "another fingerprint", "an older layout", "not HDF5"]
)
def test_a_damaged_store_is_made_again(chests: Callable[..., Any], damage: str) -> None:
    store = make(chests())
    whole = store.path.read_bytes()
    if damage == "truncated":
        store.path.write_bytes(whole[: len(whole) // 2])
    elif damage == "emptied":
        store.path.write_bytes(b"")
    elif damage == "junk":
        store.path.write_bytes(whole[:-3000] + bytes(reversed(whole[-3000:])))
    elif damage == "another fingerprint":
        with h5py.File(store.path, "r+") as file:
            file.attrs["content_hash"] = "0" * 64
    elif damage == "an older layout":
        with h5py.File(store.path, "r+") as file:
            del file["spacing"]
    else:
        store.path.write_text("something else")
    dataset = chests()
    again = make(dataset)
    assert sorted(dataset.reads) == list(again.ids)
    assert again.content_hash == store.content_hash
    np.testing.assert_array_equal(again.load([3])[0], again.load(range(6))[0][3:4])


def test_a_store_of_before_is_found_by_reading_it_whole(chests: Callable[..., Any]) -> None:
    store = make(chests())
    with h5py.File(store.path, "r+") as file:
        del file.attrs["index_hash"]
    dataset = chests()
    assert make(dataset).content_hash == store.content_hash
    assert dataset.reads == []
    with h5py.File(store.path, "r+") as file:
        file["images"][3, 10, 10] ^= 1
    make(dataset)
    assert sorted(dataset.reads) == list(store.ids)


def test_a_changed_pixel_is_found_where_a_store_is_verified(chests: Callable[..., Any]) -> None:
    store = make(chests())
    with h5py.File(store.path, "r+") as file:
        file["images"][3, 10, 10] ^= 1
    dataset, seen = chests(), []
    make(dataset)
    assert dataset.reads == [], "films have checksums of their own"
    make(dataset, verify=lambda done, total: seen.append((done, total)))
    assert sorted(dataset.reads) == list(store.ids)
    assert (6, 6) in seen


def test_a_film_that_is_damaged_on_disk_is_named_and_the_store_rebuilt(chests: Callable[..., Any]) -> None:
    store = make(chests())
    with h5py.File(store.path) as file:
        chunk = file["images"].id.get_chunk_info(3)
    with store.path.open("r+b") as opened:
        opened.seek(chunk.byte_offset + chunk.size // 2)
        opened.write(b"\xff\x00\xff")
    again = make(chests())
    again.load([2])
    with pytest.raises(StorageError, match="film_003"):
        again.load([2, 3])
    dataset = chests()
    make(dataset).load([3])
    assert sorted(dataset.reads) == list(store.ids)


def test_a_store_that_vanishes_is_reported(chests: Callable[..., Any]) -> None:
    store = make(chests())
    store.path.unlink()
    with pytest.raises(StorageError) as caught:
        store.load([0])
    assert str(store.path) in caught.value.what
    assert caught.value.remedy


def test_errors_while_making_leave_nothing(chests: Callable[..., Any], cache: Path) -> None:
    def fail(sample: Sample) -> Sample:
        raise DataError("film_004: broken", "mend it")

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(DataError, match="broken"):
        make(chests(change={"film_004": fail}))
    with pytest.raises(KeyboardInterrupt):
        make(chests(), progress=interrupt)
    with pytest.raises(DataError, match="changed while"):
        make(
            chests(change={"film_004": lambda s: (cache.parent / "films" / "film_001.raw").write_bytes(b"new!") and s})
        )
    assert list(cache.iterdir()) == []


def test_missing_files_are_named(chests: Callable[..., Any]) -> None:
    dataset = chests()
    (dataset.root / "film_002.raw").unlink()
    with pytest.raises(DataError, match=r"film_002\.raw"):
        make(dataset)


def test_the_cache_folder(tmp_path: Path, chests: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRKIT_CACHE", "")
    assert "cxrkit" in str(cache_folder())
    monkeypatch.setenv("CXRKIT_CACHE", "~/somewhere")
    assert cache_folder() == Path.home() / "somewhere"
    monkeypatch.setenv("CXRKIT_CACHE", "~nobody-of-that-name/x")
    assert cache_folder() == Path("~nobody-of-that-name/x")
    (tmp_path / "file").touch()
    monkeypatch.setenv("CXRKIT_CACHE", str(tmp_path / "file" / "inner"))
    with pytest.raises(StorageError) as caught:
        make(chests())
    assert "CXRKIT_CACHE" in caught.value.remedy
    assert str(tmp_path / "file") in caught.value.what


def test_reading_ahead_is_ordered_bounded_and_stops_at_an_error() -> None:
    started: list[int] = []
    lock = threading.Lock()

    def work(item: int) -> int:
        with lock:
            started.append(item)
        time.sleep(0.001 * (item % 3))
        if item == 30:
            raise ValueError("thirty")
        return item * item

    results = read_ahead(work, range(50), workers=3)
    for item in range(10):
        assert next(results) == item * item
        assert len(started) <= item + 2 * 3 + 1
    with pytest.raises(ValueError, match="thirty"):
        list(results)
    assert len(started) <= 30 + 2 * 3 + 1


def test_films_are_read_by_several_threads(chests: Callable[..., Any]) -> None:
    meeting = threading.Barrier(2, timeout=10)

    def meet(sample: Sample) -> Sample:
        meeting.wait()
        return sample

    make(chests(count=2, change={"film_000": meet, "film_001": meet}), workers=2)


# Other processes: the store is made by a script of its own, so that it can be killed or starved of disk.

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
import numpy as np
from cxrkit.config import PreprocessConfig
from cxrkit.data.store import open_store
from cxrkit.errors import StorageError
from cxrkit.interfaces import Dataset, Entry, Sample

class Noise(Dataset):
    structures = ("heart",)
    def entries(self):
        return [Entry(f"f{n}", f"f{n}") for n in range(8)]
    def read(self, entry):
        rng = np.random.default_rng(int(entry.id[1:]))
        mask = rng.random((64, 64)) < 0.5
        return Sample(entry.id, rng.integers(0, 65535, (64, 64), dtype=np.uint16), {"heart": mask})

def make(progress=None):
    config = PreprocessConfig(size=64, clahe=None)
    return open_store(Noise(None), name="noise", parameters={}, preprocess=config, structures=None, progress=progress)
"""


def start(body: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"CXRKIT_CACHE": str(folder), "OMP_NUM_THREADS": "1"}
    code = SCRIPT + textwrap.dedent(body)
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, text=True, **output)  # type: ignore[call-overload, no-any-return]


def test_killed_half_way_leaves_no_half_store_and_is_made_again(cache: Path) -> None:
    killed = start(
        """
        def die(done, total):
            if done == 4:
                os.kill(os.getpid(), signal.SIGKILL)
        make(die)
        """,
        cache,
    )
    assert killed.wait(60) == -signal.SIGKILL
    assert list(cache.glob("[!.]*")) == []
    (leftover,) = cache.iterdir()
    assert leftover.stat().st_size > 0
    # What a process of another machine writes may be work in progress until it has been still for an hour.
    tag, number = leftover.stem[-16:-12], int(leftover.stem[-16:-12], 16)
    elsewhere = leftover.with_name(leftover.name.replace(f"-{tag}", f"-{number ^ 1:04x}"))
    elsewhere.write_bytes(leftover.read_bytes())
    namespace: dict[str, Any] = {}
    exec(SCRIPT, namespace)
    store = namespace["make"]()
    assert {*cache.iterdir()} == {store.path, elsewhere}
    long_ago = time.time() - 2 * 3600
    os.utime(elsewhere, (long_ago, long_ago))
    store.path.unlink()
    namespace["make"]()
    assert list(cache.iterdir()) == [store.path]


def test_two_processes_make_the_same_store(cache: Path) -> None:
    # Each waits until the other is at work too, so that they really overlap.
    body = """
        def meet(done, total):
            (Path(os.environ["CXRKIT_CACHE"]) / f"{os.getpid()}.here").touch()
            while len(list(Path(os.environ["CXRKIT_CACHE"]).glob("*.here"))) < 2:
                time.sleep(0.01)
        print(make(meet).content_hash)
        """
    both = [start(body, cache) for _ in range(2)]
    hashes = {process.communicate(timeout=60)[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(hashes) == 1
    assert len(list(cache.glob("*.h5"))) == 1
    assert list(cache.glob(".*")) == []


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(cache: Path) -> None:
    # A limit on file sizes stands for the disk: HDF5 meets both as a write that fails.
    limited = start(
        f"""
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, {resource.RLIM_INFINITY}))
        try:
            make()
        except StorageError as error:
            print(error.what, error.remedy)
        """,
        cache,
    )
    told, _ = limited.communicate(timeout=60)
    assert limited.returncode == 0
    # One line, and no noise of HDF5's about objects that it can't close.
    assert told.count("\n") == 1
    assert told.startswith(str(cache))
    assert "larger" in told
    assert "CXRKIT_CACHE" in told
    assert list(cache.iterdir()) == []


def test_entries_without_files_are_keyed_by_the_parameters(chests: Callable[..., Any]) -> None:
    entries = [Entry(f"film_00{n}", f"p{n}") for n in range(3)]
    first = make(chests(entries=entries))
    assert make(chests(entries=entries)).path == first.path
    assert make(chests(entries=entries), parameters={"seed": 2}).path != first.path


def test_a_dataset_whose_source_changed_makes_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = """
        import numpy as np

        from cxrkit import Dataset, Entry, Sample


        class Own(Dataset):
            structures = ("heart",)

            def __init__(self):
                super().__init__(None)

            def entries(self):
                return [Entry("a", "a", ())]

            def read(self, entry):
                mask = np.eye(40, dtype=bool)
                return Sample("a", np.arange(1600, dtype=np.uint16).reshape(40, 40) // FACTOR, {"heart": mask}, None)
    """
    monkeypatch.syspath_prepend(tmp_path)
    paths = []
    for factor in (1, 2):
        (tmp_path / "own_films.py").write_text(textwrap.dedent(source).replace("FACTOR", str(factor)))
        sys.modules.pop("own_films", None)
        importlib.invalidate_caches()
        store = make(importlib.import_module("own_films").Own())
        paths.append(store.path)
        assert make(importlib.import_module("own_films").Own()).path == store.path
    assert paths[0] != paths[1]
