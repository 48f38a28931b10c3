"""The prompt of each picture of a subject: captions of drawn persons, text files beside pictures."""

import dataclasses
from pathlib import Path

from common import figures
from common.data import avatars
from common.errors import InputError

import pytest
import torch
from small_text_to_image import folder, pipeline, tuning

from hw4_diffusion import instance_prompts, prompt_measures, subjects, train_lora

OTHERWISE = "a portrait of a sks person"


@pytest.fixture(scope="module")
def pipe():
    return pipeline()


@pytest.fixture
def photographs(tmp_path, monkeypatch) -> Path:
    """15 pictures, one of them in a folder of its own, and captions for two."""
    monkeypatch.setattr(subjects, "face_finder", lambda: None)
    place = tmp_path / "anna"
    for i in range(15):
        name = f"{i:02d}.png" if i else "more/00.png"
        figures.save_png(place / name, torch.full((3, 40, 40), 10 * i, dtype=torch.uint8))
    (place / "more" / "00.txt").write_text("a sad sks person\n", encoding="utf-8")
    (place / "07.txt").write_text("\ufeffa happy sks person,\n  red hoodie", encoding="utf-8")
    return place


@pytest.mark.parametrize("name", subjects.DRAWN)
def test_captions_of_drawn_persons_say_all_that_varies_and_nothing_that_does_not(name, pipe):
    subject = subjects.load(name, 32)
    said = instance_prompts.of(pipe, subject, "sks", otherwise=OTHERWISE)
    for i, text in enumerate(said):
        shown = {each: subject.attributes[each][i].item() for each in avatars.CHOICES}
        varies = {each: value for each, value in shown.items() if each not in subjects.KEPT}
        assert prompt_measures.asked(text) == varies and " sks person" in text
        yaw = subject.attributes["yaw"][i]
        side = "forward" if abs(yaw) < avatars.CLEARLY_TURNED else "right" if yaw > 0 else "left"
        assert f"looking {side}" in text
    assert len(set(said)) > 15


def test_a_text_beside_a_picture_is_its_caption_wherever_it_lies(pipe, photographs, capsys):
    subject = subjects.load(str(photographs), 32)
    said = dict(zip(subject.file_names, instance_prompts.of(pipe, subject, "sks", otherwise=OTHERWISE)))
    assert said.pop("more/00.png") == "a sad sks person"
    assert said.pop("07.png") == "a happy sks person, red hoodie"
    assert set(said.values()) == {OTHERWISE} and len(said) == 13
    assert f"13 pictures have no caption (01.txt, 02.txt, 03.txt); theirs is {OTHERWISE!r}" in (
        capsys.readouterr().err
    )


def test_pictures_without_any_caption_share_one_prompt_without_a_word(pipe, photographs, capsys):
    for path in photographs.rglob("*.txt"):
        path.unlink()
    subject = subjects.load(str(photographs), 32)
    assert instance_prompts.of(pipe, subject, "sks", otherwise=OTHERWISE) == [OTHERWISE] * 15
    assert "caption" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "caption, message",
    [
        (b"a sad person", r"07\.txt 'a sad person': the token sks, by which .* is missing"),
        (b"a sad sks wizard", r"07\.txt .*: the model does not know the word wizard"),
        (b"\xff\xfe\x00", r"07\.txt: not a text in UTF-8"),
    ],
)
def test_wrong_captions_are_told_by_their_file_before_training(caption, message, photographs, tmp_path):
    (photographs / "07.txt").write_bytes(caption)
    model = folder(tmp_path / "model")
    flags = tuning(model, tmp_path, instance_data_dir=str(photographs), rank=(2,))
    with pytest.raises(InputError, match=message):
        train_lora.main(train_lora.Config(**flags))
    assert not (tmp_path / "hw4").exists()


def test_a_folder_called_like_a_drawn_person_is_a_folder(pipe, photographs):
    place = photographs.rename(photographs.with_name("drawn1"))
    subject = subjects.load(str(place), 32)
    assert "a sad sks person" in instance_prompts.of(pipe, subject, "sks", otherwise=OTHERWISE)


def test_a_run_does_not_go_on_with_another_caption(photographs, tmp_path):
    model = folder(tmp_path / "model")
    one = train_lora.Config(**tuning(model, tmp_path, instance_data_dir=str(photographs), rank=(2,)))
    (run_dir,) = train_lora.main(one)
    again = dataclasses.replace(one, max_train_steps=8, resume=run_dir)
    (photographs / "07.txt").write_text("an angry sks person", encoding="utf-8")
    with pytest.raises(InputError, match="a caption is now 'an angry sks person' and was 'a happy"):
        train_lora.main(again)
    (photographs / "07.txt").write_text("a happy sks person, red hoodie", encoding="utf-8")
    assert train_lora.main(again) == [run_dir] and (run_dir / "checkpoints" / "checkpoint-8.pt").is_file()


def test_a_caption_is_found_however_the_letters_of_its_name_are_composed(pipe, photographs):
    (photographs / "01.png").rename(photographs / "andrei\u0306.png")
    (photographs / "andre\u012d.txt").write_text("a sad sks person", encoding="utf-8")
    subject = subjects.load(str(photographs), 32)
    said = dict(zip(subject.file_names, instance_prompts.of(pipe, subject, "sks", otherwise=OTHERWISE)))
    assert said["andrei\u0306.png"] == "a sad sks person"


def test_one_caption_beside_two_pictures_is_refused(pipe, photographs):
    (photographs / "08.png").rename(photographs / "07.jpg")
    subject = subjects.load(str(photographs), 32)
    with pytest.raises(InputError, match=r"07\.txt: beside two pictures of that name"):
        instance_prompts.of(pipe, subject, "sks", otherwise=OTHERWISE)
