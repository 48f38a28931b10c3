"""The images of a distance, from memory and from folders: grey, in order, no more decoded than taken."""

import threading

from common import figures
from common.data.image_set import to_grey
from common.metrics import images

import numpy as np
import pytest
import torch
from PIL import Image


@pytest.fixture
def folder(tmp_path):
    for i, image in enumerate(torch.randint(256, (8, 3, 48, 40), dtype=torch.uint8)):
        figures.save_png(tmp_path / "a" / f"{i}.png", image)
    return tmp_path / "a"


def test_images_in_memory_are_made_grey_where_that_is_asked_for():
    colour = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    read = lambda grey: torch.cat(list(images.TensorImages(colour, grey=grey).batches(2)))
    assert torch.equal(read(False), colour)
    assert torch.equal(read(True), to_grey(colour))


def test_images_below_a_folder_without_any(folder, tmp_path):
    (tmp_path / "class" / "x").mkdir(parents=True)
    (tmp_path / "class" / "x" / "1.PNG").write_bytes((folder / "0.png").read_bytes())
    assert len(images.FolderImages(tmp_path / "class")) == 1


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        (np.uint16([[257, 65535]]), "16 bits of grey from 0, black, to 65535, white"),
        (np.float32([[1 / 255, 1]]), "floating point levels from 0, black, to 1, white"),
    ],
)
def test_how_deep_greys_are_read_is_said(tmp_path, capsys, levels, words):
    for name in "ab":
        Image.fromarray(levels).save(tmp_path / f"{name}.tif")
    read = next(images.FolderImages(tmp_path, workers=0).batches(2))
    assert [image[0, 0].tolist() for image in read] == [[1, 255]] * 2
    assert capsys.readouterr().err.count(f"{tmp_path}: images with {words}") == 1  # not once a file


def test_threads_decode_in_order(folder):
    batches = lambda workers: [
        torch.stack(b) for b in images.FolderImages(folder, workers=workers).batches(3)
    ]
    for threaded, plain in zip(batches(4), batches(0), strict=True):
        assert torch.equal(threaded, plain)
    assert [len(batch) for batch in batches(2)] == [3, 3, 2]


def test_only_two_batches_are_decoded_ahead(folder, monkeypatch):
    """Memory does not grow with the folder: nothing runs away from whoever takes the batches."""
    decoded = []
    decode = images._decode
    monkeypatch.setattr(images, "_decode", lambda path, grey: decoded.append(path) or decode(path, grey))
    batches = images.FolderImages(folder, workers=2).batches(1)
    next(batches)
    batches.close()
    assert 1 <= len(decoded) <= 3


def test_nothing_more_is_decoded_once_nobody_takes_the_batches(folder, monkeypatch):
    """One thread, which is held at the second image until the rest is called off."""
    decoded, called_off, decode = [], threading.Event(), images._decode

    class Pool(images.ThreadPoolExecutor):
        def shutdown(self, wait=True, **how):
            super().shutdown(wait=False, **how)
            called_off.set()
            super().shutdown(wait=wait)

    def held(path, grey):
        decoded.append(path)
        assert len(decoded) == 1 or called_off.wait(60)
        return decode(path, grey)

    monkeypatch.setattr(images, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(images, "_decode", held)
    batches = images.FolderImages(folder, workers=1).batches(1)
    next(batches)
    batches.close()
    assert 1 <= len(decoded) <= 2
