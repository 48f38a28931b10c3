"""Stable Diffusion 1.5 at reduced width: its exact parts and layers, as a folder and in one file."""

import re
from pathlib import Path

from common import torchvision_operators  # noqa: F401  diffusers imports torchvision

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WIDTH = 32
"""In place of 320 channels in the U-Net, 128 in the autoencoder and 768 in the text encoder."""
WORDS = ["a", "photo", "of", "sks", "woman", "face", "in", "snow"]


def tokenizer() -> CLIPTokenizer:
    """CLIP's kind with few words: letters, and pairs merged into those of WORDS."""
    letters = sorted({letter for word in WORDS for letter in word})
    vocab = [*letters, *(f"{letter}</w>" for letter in letters)]
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], f"{word[-1]}</w>"]
        while len(pieces) > 1:
            merges += [tuple(pieces[:2])] if tuple(pieces[:2]) not in merges else []
            pieces = ["".join(pieces[:2]), *pieces[2:]]
            vocab.append(pieces[0])
    vocab = [*dict.fromkeys(vocab), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer({word: i for i, word in enumerate(vocab)}, merges, model_max_length=77)


def pipeline() -> StableDiffusionPipeline:
    """Random weights; the configuration of SD 1.5 but for the widths."""
    torch.manual_seed(0)
    words = tokenizer()
    text = CLIPTextConfig(
        vocab_size=len(words), hidden_size=WIDTH, intermediate_size=4 * WIDTH, num_hidden_layers=12,
        num_attention_heads=4, max_position_embeddings=77, hidden_act="quick_gelu", projection_dim=WIDTH,
        bos_token_id=words.bos_token_id, eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=64, in_channels=4, out_channels=4, layers_per_block=2, attention_head_dim=8,
        block_out_channels=(WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH), cross_attention_dim=WIDTH,
        down_block_types=("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
        up_block_types=("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(WIDTH, 2 * WIDTH, 4 * WIDTH, 4 * WIDTH), layers_per_block=2, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        sample_size=512, scaling_factor=0.18215,
    )  # fmt: skip
    scheduler = PNDMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, skip_prk_steps=True,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip
    return StableDiffusionPipeline(
        vae, CLIPTextModel(text), words, unet, scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip


# ---- one file, with the names of the first release of Stable Diffusion


def single_file(pipe: StableDiffusionPipeline, path: Path) -> None:
    """Write all weights as sites of models hand them round."""
    weights = {
        f"model.diffusion_model.{unet_name(key)}": value for key, value in pipe.unet.state_dict().items()
    }
    for key, value in pipe.vae.state_dict().items():
        name = vae_name(key)
        is_matrix = "mid.attn" in name and name.endswith("weight") and value.ndim == 2
        weights[f"first_stage_model.{name}"] = value[:, :, None, None] if is_matrix else value
    for key, value in pipe.text_encoder.state_dict().items():
        if not key.endswith("position_ids"):
            weights[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    save_file({key: value.contiguous().clone() for key, value in weights.items()}, path)


RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
          "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip


def unet_name(key: str) -> str:
    """A key of diffusers' U-Net as the first release calls it."""
    for theirs, ours in (
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("conv_in", "input_blocks.0.0"),
        ("conv_norm_out", "out.0"),
        ("conv_out", "out.2"),
    ):
        if key.startswith(theirs + "."):
            return key.replace(theirs, ours, 1)
    if found := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key):
        kind, number, rest = found.groups()
        place = 1 if kind == "attentions" else 2 * int(number)
        return f"middle_block.{place}.{layer(kind, rest)}"
    side, block, kind, number, rest = re.match(
        r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", key
    ).groups()
    block, number = int(block), int(number)
    if kind == "downsamplers":
        return f"input_blocks.{3 * (block + 1)}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * block + 2}.{1 if block == 0 else 2}.{rest}"
    place = 3 * block + 1 + number if side == "down" else 3 * block + number
    end = f"{place}.{int(kind == 'attentions')}.{layer(kind, rest)}"
    return f"input_blocks.{end}" if side == "down" else f"output_blocks.{end}"


def layer(kind: str, rest: str) -> str:
    if kind == "attentions":
        return rest
    name, _, last = rest.rpartition(".")
    return f"{RESNET[name]}.{last}"


def vae_name(key: str) -> str:
    """A key of diffusers' autoencoder as the first release calls it."""
    key = key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", key)
    for theirs, ours in (
        ("group_norm", "norm"),
        ("to_q", "q"),
        ("to_k", "k"),
        ("to_v", "v"),
        ("to_out.0", "proj_out"),
    ):
        key = key.replace(f"mid_block.attentions.0.{theirs}", f"mid.attn_1.{ours}")
    key = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(
        r"up_blocks\.(\d)\.resnets\.(\d)", lambda found: f"up.{3 - int(found[1])}.block.{found[2]}", key
    )
    return re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{3 - int(found[1])}.upsample", key)
