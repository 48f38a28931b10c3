"""The small pipeline: its parts, its words, its folder."""

import subprocess
import sys

from common import torchvision_operators  # noqa: F401  diffusers imports torchvision
from common.data import avatar_captions, avatars

import pytest
import torch
from diffusers import DDPMScheduler
from transformers import CLIPTokenizer

from hw4_diffusion import small_pipeline
from hw4_diffusion.small_pipeline import Description

SMALL = Description(
    size=32, autoencoder_channels=(8, 8, 16), unet_channels=(16, 32), heads=2, text_width=16, text_layers=1
)


def pipeline(known: Description = SMALL):
    torch.manual_seed(0)
    tokenizer = small_pipeline.build_tokenizer(known)
    return small_pipeline.assemble(
        small_pipeline.build_autoencoder(known), small_pipeline.build_text_encoder(known, tokenizer),
        tokenizer, small_pipeline.build_unet(known), small_pipeline.build_scheduler(),
    )  # fmt: skip


def test_every_word_of_a_caption_is_one_token():
    known = Description()
    tokenizer = small_pipeline.build_tokenizer(known)
    attributes = avatars.sample_attributes(200, torch.Generator().manual_seed(0))
    for text in (*avatar_captions.varied(attributes, 0).texts, *avatars.caption(attributes)):
        words = avatar_captions.words_in(text)
        assert tokenizer.tokenize(text) == [f"{word}</w>" for word in words]
        assert len(tokenizer(text).input_ids) == len(words) + 2 <= known.prompt_tokens
        assert not small_pipeline.unknown_words(tokenizer, text)
    assert tokenizer.tokenize("SKS person") == ["sks</w>", "person</w>"]


def test_pieces_are_joined_in_the_order_of_their_number():
    """Of two pairs that occur twice the first in the alphabet: the same in every process."""
    merges = small_pipeline.byte_pair_merges(("abc", "abd", "cab", "ab"))
    assert merges == [("a", "b"), ("a", "b</w>"), ("ab", "c</w>"), ("ab", "d</w>"), ("c", "ab</w>")]
    assert small_pipeline.byte_pair_merges(("ab", "cab", "abd", "abc")) == merges
    tokens = [small_pipeline.build_tokenizer(SMALL).get_vocab() for _ in range(2)]
    assert tokens[0] == tokens[1] and sorted(tokens[0].values()) == list(range(len(tokens[0])))


def test_an_unknown_word_is_named_and_spelled(tmp_path):
    tokenizer = small_pipeline.build_tokenizer(SMALL)
    tokenizer.save_pretrained(tmp_path)
    for one in (tokenizer, CLIPTokenizer.from_pretrained(tmp_path)):
        assert small_pipeline.unknown_words(one, "a sks person in a tuxedo, a tuxedo!") == ["tuxedo", "!"]
        assert tokenizer.unk_token not in one.tokenize("a tuxedo & 2 zebras, it's (fine)!")


def test_a_tokenizer_without_a_list_of_words_knows_them_all():
    """As that of Stable Diffusion 1.5."""
    assert small_pipeline.unknown_words(CLIPTokenizer(), "a tuxedo") == []


def test_the_prompt_ends_at_the_last_token_of_the_vocabulary():
    """CLIP's text encoder looks there for what the whole prompt means."""
    tokenizer = small_pipeline.build_tokenizer(SMALL)
    assert tokenizer.eos_token_id == len(tokenizer) - 1 and tokenizer.bos_token_id == len(tokenizer) - 2
    told = tokenizer("sad", padding="max_length").input_ids
    assert len(told) == SMALL.prompt_tokens and set(told[2:]) == {tokenizer.eos_token_id}
    assert small_pipeline.build_text_encoder(SMALL, tokenizer).config.eos_token_id == tokenizer.eos_token_id


def test_the_schedule_ends_in_noise_and_is_that_of_training():
    scheduler = small_pipeline.build_scheduler()
    assert scheduler.config.prediction_type == "v_prediction"
    training = DDPMScheduler.from_config(scheduler.config)
    assert training.alphas_cumprod[-1] == 0 and training.config.prediction_type == "v_prediction"
    assert (training.alphas_cumprod - scheduler.alphas_cumprod).abs().max() < 1e-6
    scheduler.set_timesteps(20)
    assert scheduler.timesteps[0] == 999


OPEN_AND_DRAW = """
import sys, torch
library = torch.library.Library("torchvision", "FRAGMENT")  # what a CPU torch lacks beside PyPI's torchvision
for name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, name):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
from diffusers import StableDiffusionPipeline
pipeline = StableDiffusionPipeline.from_pretrained(sys.argv[1])
assert not any(name.split(".")[0] in ("common", "hw4_diffusion") for name in sys.modules)
images = pipeline(["a sad person", "a happy person"], num_inference_steps=2, output_type="np",
                  generator=[torch.Generator().manual_seed(seed) for seed in (0, 1)]).images
torch.save({"images": torch.from_numpy(images)}, sys.argv[2])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline") / "portraits"
    small_pipeline.save(pipeline(), path)
    return path


def test_a_fresh_process_opens_the_folder_without_anything_of_ours(folder, tmp_path):
    command = [sys.executable, "-I", "-c", OPEN_AND_DRAW, str(folder), str(tmp_path / "images.pt")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "safety" not in done.stderr and "deprecated" not in done.stderr
    opened = torch.load(tmp_path / "images.pt")["images"]
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    here = pipeline()(
        ["a sad person", "a happy person"], num_inference_steps=2, output_type="np", generator=generators
    ).images
    assert opened.shape == (2, 32, 32, 3)
    assert (opened - torch.from_numpy(here)).abs().max() < 0.02  # float16 weights
    assert (opened[0] - opened[1]).abs().max() > 0.02


def test_saving_leaves_the_networks_as_they_are_and_replaces_a_folder(folder):
    one = pipeline()
    small_pipeline.save(one, folder)
    assert all(part.dtype == torch.float32 for part in (one.unet, one.vae, one.text_encoder))
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_shipped_sizes_fit_into_sixteen_megabytes(tmp_path):
    small_pipeline.save(pipeline(Description()), tmp_path / "whole")
    assert sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file()) < 16e6
