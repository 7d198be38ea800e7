"""Tar archives of image folders: read in place or unpacked once, and never trusted."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests.data.images import pack, pixels, png

from vecgrad import data
from vecgrad.data import _pixel_cache as cache
from vecgrad.data import _tar as tar
from vecgrad.spec.errors import DataError

PIXELS = {
    f"{part}/{name}/{number}.png": pixels(6, 5)
    for part in ("train", "test")
    for name in ("cat", "dog")
    for number in range(3)
}
MEMBERS = {name: png(array) for name, array in PIXELS.items()}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VECGRAD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
@pytest.mark.parametrize("keep", [None, 0])
def test_an_archive_is_the_folder_that_was_packed(tmp_path: Path, mode: str, keep: int | None) -> None:
    # The name says nothing: what the file holds decides.
    path = pack(tmp_path / "pets.data", dict(reversed(MEMBERS.items())), mode)
    dataset = data.open(path, keep=keep)
    assert str(dataset) == "pets: 6 training, 6 test images of 6×5×1, 2 classes"
    assert dataset.class_names == ("cat", "dog")
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    expected = [array for name, array in PIXELS.items() if name.startswith("train")]
    assert np.array_equal(np.asarray(dataset.train_images)[..., 0], expected)


def test_outer_folders_dots_and_hidden_files_do_not_matter(tmp_path: Path) -> None:
    odd = {"./pets/": b"", "./pets/.DS_Store": b"x", "./__MACOSX/pets/train/cat/._0.png": b"x"}
    odd |= {"./pets/train/cat/._0.png": b"x", "./pets/README.txt": b"x"}
    outer = pack(tmp_path / "a.tar", odd | {f"./pets/{name}": content for name, content in MEMBERS.items()})
    assert str(data.open(outer)) == "a: 6 training, 6 test images of 6×5×1, 2 classes"
    flat = {name.removeprefix("train/"): content for name, content in MEMBERS.items() if "train" in name}
    assert str(data.open(pack(tmp_path / "b.tar", flat))) == "b: 6 training images of 6×5×1, 2 classes"
    inner = {f"pets/{name}": content for name, content in flat.items()}
    assert str(data.open(pack(tmp_path / "c.tar", inner))) == "c: 6 training images of 6×5×1, 2 classes"


def test_what_was_decoded_once_is_read_back(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pack(tmp_path / "pets.tar.gz", MEMBERS, "w:gz")
    first = data.open(path)
    (kept,) = own_cache.glob("*.npz")
    assert kept.stat().st_mode & 0o077 == 0
    with monkeypatch.context() as patch:
        patch.setattr(tar, "_decoded", lambda *_: pytest.fail("unpacked again"))
        again = data.open(path.rename(tmp_path / "moved.tgz"))
        assert again.name == "moved"
        assert np.array_equal(again.train_images, first.train_images)
        assert again.test_digest() == first.test_digest()
        assert (again.class_names, again.preparation) == (first.class_names, first.preparation)
        # As evaluate asks, knowing what training found.
        assert np.array_equal(
            data.open(tmp_path / "moved.tgz", size=(6, 5), channels=1).test_images, first.test_images
        )
        for options in ({"size": (3, 3)}, {"channels": 3}, {"broken": "skip"}, {"keep": 100}):
            with pytest.raises(pytest.fail.Exception, match="unpacked again"):
                data.open(tmp_path / "moved.tgz", **options)  # type: ignore[arg-type]
    content = bytearray(kept.read_bytes())
    content[len(content) // 3] ^= 1
    kept.write_bytes(content)
    assert np.array_equal(data.open(tmp_path / "moved.tgz").train_images, first.train_images)
    kept.chmod(0o666)
    assert cache._load(kept, cache.Options()) is None, "a file that others may write to is not believed"


def test_the_cache_is_bounded_and_does_without_a_folder(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_MOST_BYTES", 1200)
    for number in range(4):
        data.open(pack(tmp_path / f"{number}.tar", MEMBERS | {"train/cat/9.png": png(pixels(6, 5))}))
    assert sum(1 for _ in own_cache.iterdir()) == 1
    monkeypatch.setenv("VECGRAD_CACHE_DIR", str(tmp_path / "0.tar"))
    assert data.open(tmp_path / "1.tar").name == "1"


def linked(kind: bytes) -> tarfile.TarInfo:
    member = tarfile.TarInfo("train/cat/x.png")
    member.type, member.linkname = kind, "train/cat/0.png"
    return member


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd.png", "an absolute path"),
        ("C:/x.png", "an absolute path"),
        ("\\x.png", "an absolute path"),
        ("train/../../x.png", r"a path with \.\."),
        ("train\\..\\x.png", r"a path with \.\."),
        ("../", r"a path with \.\."),
    ],
)
def test_paths_that_lead_out_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"a\.tar: .* is {message}; .*do not trust"):
        data.open(pack(tmp_path / "a.tar", MEMBERS | {name: b""}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (tarfile.SYMTYPE, "a symbolic link"),
        (tarfile.LNKTYPE, "a hard link"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "a pipe"),
        (b"Z", "neither a file nor a folder"),
    ],
)
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes, message: str) -> None:
    path = pack(tmp_path / "a.tar", MEMBERS)
    with tarfile.open(path, "a") as archive:
        archive.addfile(linked(kind))
    with pytest.raises(DataError, match=rf"a\.tar: 'train/cat/x\.png' is {message}; "):
        data.open(path)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_truncated_and_damaged_archives_are_named(tmp_path: Path, mode: str) -> None:
    path = pack(tmp_path / "a.tar", MEMBERS, mode)
    content = path.read_bytes()
    for length in (len(content) // 2, len(content) - 11 if mode != "w" else 12 * 1024 - 700):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"a\.tar: damaged archive .*good copy"):
            data.open(path)
    if mode == "w":
        path.write_bytes(content[:2048] + b"x" * 512 + content[2560:])
        with pytest.raises(DataError, match=r"a\.tar: damaged archive \(at byte 2,048 there is neither"):
            data.open(path)


def test_an_archive_that_unpacks_without_end_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar, "_MOST_UNPACKED", 5000)
    with pytest.raises(DataError, match=r"a\.tgz: unpacks to more than 5,000 bytes"):
        data.open(pack(tmp_path / "a.tgz", MEMBERS, "w:gz"))


def test_broken_members_are_named_or_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = pack(tmp_path / "a.tar", MEMBERS | {"train/dog/1.png": MEMBERS["train/dog/1.png"][:50]})
    with pytest.raises(DataError, match=r"a\.tar: train/dog/1\.png: damaged image"):
        data.open(path)
    for _ in ("decoded", "from the cache"):
        caplog.clear()
        dataset = data.open(path, broken="skip")
        assert str(dataset).startswith("a: 5 training, 6 test images")
        assert str(dataset).endswith("; 1 broken image skipped")
        assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1]
        assert "a.tar: train/dog/1.png: damaged" in dataset.skipped[0]
        assert "a: 1 broken image skipped, the first: " in caplog.text
    broken = {name: b"x" if "train/dog" in name else content for name, content in MEMBERS.items()}
    with pytest.raises(DataError, match="not one image of the class dog can be read; the first broken: "):
        data.open(pack(tmp_path / "b.tar", broken), broken="skip")
    with pytest.raises(DataError, match="not one of 6 images can be read"):
        data.open(pack(tmp_path / "c.tar", dict.fromkeys(MEMBERS, b"x")), broken="skip")


def test_one_class_and_an_empty_class_are_refused(tmp_path: Path) -> None:
    one = {name: content for name, content in MEMBERS.items() if "cat" in name}
    with pytest.raises(DataError, match=r"a\.tar: train: a folder that holds cat/; expected two sub-folders"):
        data.open(pack(tmp_path / "a.tar", one))
    with pytest.raises(DataError, match=r"b\.tar: train/emu: an empty folder; expected image files"):
        data.open(pack(tmp_path / "b.tar", MEMBERS | {"train/emu/": b""}))
    with pytest.raises(DataError, match=r"c\.tar: a folder that holds notes/, x\.txt; expected two"):
        data.open(pack(tmp_path / "c.tar", {"notes/": b""} | {"x.txt": b""}))


def archive(shared: Path) -> Path:
    path = shared / "cifar10-jpeg.tar.gz"
    if not path.is_file():
        pytest.skip(f"no CIFAR-10 at {path}")
    return path


@pytest.mark.slow
def test_the_real_archive(shared: Path) -> None:
    dataset = data.open(archive(shared))
    assert str(dataset) == "cifar10-jpeg: 50,000 training, 10,000 test images of 32×32×3, 10 classes"
    assert np.bincount(dataset.train_labels).tolist() == [5000] * 10
    assert dataset.preparation.mean == pytest.approx((0.4913, 0.4821, 0.4465), abs=1e-4)


def test_some_of_the_real_archive(shared: Path, tmp_path: Path) -> None:
    """One of 50 images of each folder."""
    members: dict[str, bytes] = {}
    seen: Counter[str] = Counter()
    with tarfile.open(archive(shared), "r|gz") as source:
        for member in source:
            folder = str(Path(member.name).parent)
            seen[folder] += member.isfile()
            if member.isfile() and seen[folder] % 50 == 1:
                file = source.extractfile(member)
                assert file is not None
                members[member.name] = file.read()
    dataset = data.open(pack(tmp_path / "cifar.tar", members))
    assert str(dataset) == "cifar: 1,000 training, 200 test images of 32×32×3, 10 classes"
    assert np.bincount(dataset.train_labels).tolist() == [100] * 10
    assert dataset.preparation.mean == pytest.approx((0.4913, 0.4821, 0.4465), abs=0.01)


def test_parts_of_an_archive_are_named_as_those_of_a_folder(tmp_path: Path) -> None:
    capitals = {name.replace("train", "Train"): content for name, content in MEMBERS.items()}
    assert str(data.open(pack(tmp_path / "a.tar", capitals))).startswith("a: 6 training, 6 test images")
    test = {name: content for name, content in MEMBERS.items() if "test" in name}
    with pytest.raises(DataError, match=r"b\.tar: has images for test/ but no train/"):
        data.open(pack(tmp_path / "b.tar", test))


@pytest.mark.parametrize("outer", ["pets/", ""])
def test_an_archive_may_hold_training_images_alone(tmp_path: Path, outer: str) -> None:
    members = {outer + name: content for name, content in MEMBERS.items() if name.startswith("train")}
    dataset = data.open(pack(tmp_path / "a.tar", members))
    assert str(dataset) == "a: 6 training images of 6×5×1, 2 classes"
    assert dataset.train_names is not None
    assert dataset.train_names[0] == f"{outer}train/cat/0.png"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_lazy_images_are_read_in_other_processes(
    tmp_path: Path, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    images = data.open(pack(Path("a.tar"), MEMBERS, mode), keep=0).train_images
    assert isinstance(images, data.LazyImages)
    text = pickle.dumps(images)
    assert len(text) < 5000
    (tmp_path / "text").write_bytes(text)
    code = (
        "import pickle, sys; sys.stdout.buffer.write(pickle.load(open(sys.argv[1], 'rb'))[[4, 1]].tobytes())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "text"], capture_output=True, check=True, cwd="/"
    )
    assert done.stdout == images[[4, 1]].tobytes()
    with monkeypatch.context() as patch:
        first = pickle.loads(text)
        patch.setattr(tar, "_unpacked", lambda *_: pytest.fail("unpacked again"))
        assert np.array_equal(pickle.loads(text)[2:], first[2:])
    tar._reopened.cache_clear()
    os.utime("a.tar", (1, 1))
    with pytest.raises(DataError, match=r"a\.tar: has changed since the data were opened; open them again"):
        pickle.loads(text)
    os.unlink("a.tar")
    with pytest.raises(DataError, match=r"a\.tar: cannot be read: No such file.*where it was opened"):
        pickle.loads(text)
    assert np.array_equal(images[:], images[[0, 1, 2, 3, 4, 5]]), "the first opening goes on"


def test_a_packed_archive_without_memory_goes_to_the_disk(tmp_path: Path) -> None:
    archive = tar._unpacked(pack(tmp_path / "a.tgz", MEMBERS, "w:gz"), 0)
    assert archive.file._rolled  # type: ignore[attr-defined]


def test_an_archive_from_the_cache_warns_as_before(tmp_path: Path) -> None:
    dark = png(np.arange(500, 530, dtype=np.uint16).reshape(5, 6))
    path = pack(tmp_path / "a.tar", {"cat/0.png": dark, "dog/0.png": dark})
    for _ in ("decoded", "from the cache"):
        with pytest.warns(UserWarning, match=r"a: 2 of 2 16-bit images .*a\.tar: cat/0\.png with values 500"):
            data.open(path)
