"""Stable Diffusion with a few million parameters, in the same parts and files.

    known = Description()
    tokenizer = build_tokenizer(known)
    parts = build_autoencoder(known), build_text_encoder(known, tokenizer), tokenizer, build_unet(known)
    save(assemble(*parts, build_scheduler()), folder)
    StableDiffusionPipeline.from_pretrained(folder)     # diffusers alone, in any process

As in Stable Diffusion (Rombach et al. 2022) an autoencoder makes latents of images, a CLIP text encoder makes
a vector of every word, and a U-Net removes noise from latents while its cross-attention reads the words.
DIFFERS: an autoencoder of factor 4 in place of 8, without attention; some hundred words; v in place of the
noise, and a schedule that ends in noise alone (Lin et al. 2024).
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from common import atomic, torchvision_operators  # noqa: F401  diffusers imports torchvision
from common.data import avatar_captions
from common.errors import InputError

from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

RARE_WORDS = ("sks",)
"""Words without a meaning of their own, for DreamBooth to give them one."""
AUTOENCODER = "autoencoder"
"""Folder of the autoencoder in a run directory of its training."""
PIPELINE = "pipeline"
"""Folder of the whole pipeline in a run directory of the second stage."""
AUTOENCODER_GROUPS, UNET_GROUPS = 8, 16
"""Groups of channels that GroupNorm normalises together."""
SIGNS = "abcdefghijklmnopqrstuvwxyz0123456789.,:;!?'\"()-+&/"
"""What words are spelled with that the tokenizer does not know."""


@dataclass(frozen=True)
class Description:
    """Sizes of all parts."""

    size: int = 64
    """Side of the images in pixels."""
    autoencoder_channels: tuple[int, ...] = (16, 48, 96)
    """Feature maps at each size, from the images' own on, each half of the one before."""
    autoencoder_blocks: int = 1
    """Residual blocks at each size of the encoder; the decoder has one more."""
    latent_channels: int = 4
    """Numbers at each place of the latent."""
    unet_channels: tuple[int, ...] = (32, 64, 128)
    """Feature maps of the U-Net at each size, from the latent's own on."""
    unet_blocks: int = 1
    """Residual blocks at each size on the way down; one more on the way up."""
    heads: int = 4
    """Heads of every attention."""
    text_width: int = 128
    """Length of a word's vector."""
    text_layers: int = 2
    """Layers of the text encoder."""
    prompt_tokens: int = 48
    """Tokens of a prompt, with those of its beginning and end; what is longer is cut off."""
    words: tuple[str, ...] = avatar_captions.WORDS + RARE_WORDS
    """What the tokenizer knows as one token each."""

    def check(self) -> None:
        """InputError for sizes of which no network can be made."""
        down = 2 ** (len(self.autoencoder_channels) + len(self.unet_channels) - 2)
        if self.size % down:
            raise InputError(f"--size {self.size}: must be a multiple of {down} for these networks")
        for flag, channels, groups in (
            ("--autoencoder-channels", self.autoencoder_channels, AUTOENCODER_GROUPS),
            ("--unet-channels", self.unet_channels, UNET_GROUPS),
        ):
            if wrong := [count for count in channels if count % groups]:
                raise InputError(f"{flag} {wrong[0]}: must be a multiple of {groups}")
        if self.text_width % self.heads:
            raise InputError(f"--text-width {self.text_width}: must be a multiple of {self.heads}")

    @property
    def latent_size(self) -> int:
        """Side of the latent."""
        return self.size // 2 ** (len(self.autoencoder_channels) - 1)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(D, s, s)."""
        return self.latent_channels, self.latent_size, self.latent_size


# ---- parts


def build_autoencoder(known: Description) -> AutoencoderKL:
    """(B, 3, S, S) in [-1, 1] <-> (B, latent_channels, S/4, S/4)."""
    levels = len(known.autoencoder_channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * levels, up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=known.autoencoder_channels, layers_per_block=known.autoencoder_blocks,
        latent_channels=known.latent_channels, norm_num_groups=AUTOENCODER_GROUPS, sample_size=known.size,
        mid_block_add_attention=False, scaling_factor=1.0,
    )  # fmt: skip


def build_tokenizer(known: Description) -> CLIPTokenizer:
    """Byte-pair encoding merged until each known word is one token; other words fall into pieces."""
    merges = byte_pair_merges(known.words)
    tokens = [f"{sign}{end}" for end in ("", "</w>") for sign in SIGNS] + ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]  # the two last, as CLIP has them
    return CLIPTokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        merges=merges,
        model_max_length=known.prompt_tokens,
        known_words=list(known.words),  # goes into tokenizer_config.json and comes back from it
    )


def byte_pair_merges(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pairs of pieces to join, in this order, until every word is one piece (Sennrich et al. 2016).

    The most frequent pair is joined first, of several the first in the alphabet: the trainer of `tokenizers`
    takes any of them, and two processes would number the words differently."""
    spelled = [(*word[:-1], f"{word[-1]}</w>") for word in sorted(set(words))]
    merges = []
    while pairs := Counter(pair for pieces in spelled for pair in pairwise(pieces)):
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        spelled = [_joined(pieces, best) for pieces in spelled]
    return merges


def _joined(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The pieces with every such pair made one."""
    joined, rest = [], list(pieces)
    while rest:
        length = 2 if tuple(rest[:2]) == pair else 1
        joined.append("".join(rest[:length]))
        rest = rest[length:]
    return tuple(joined)


def build_text_encoder(known: Description, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """(B, L) tokens -> (B, L, text_width): a word sees those before it, eq. (latent_diffusion.5)."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=known.text_width, intermediate_size=4 * known.text_width,
        num_hidden_layers=known.text_layers, num_attention_heads=known.heads,
        max_position_embeddings=known.prompt_tokens, projection_dim=known.text_width,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    return CLIPTextModel(config)


def build_unet(known: Description) -> UNet2DConditionModel:
    """(B, latent_channels, S/4, S/4), times (B,), words (B, L, text_width) -> like the first.

    Its cross-attention looks at the words, eq. (latent_diffusion.4).
    The largest size has no attention: of its three blocks it would take most of the time."""
    levels = len(known.unet_channels)
    return UNet2DConditionModel(
        sample_size=known.latent_size, in_channels=known.latent_channels, out_channels=known.latent_channels,
        block_out_channels=known.unet_channels, layers_per_block=known.unet_blocks,
        down_block_types=("DownBlock2D",) + ("CrossAttnDownBlock2D",) * (levels - 1),
        up_block_types=("CrossAttnUpBlock2D",) * (levels - 1) + ("UpBlock2D",),
        cross_attention_dim=known.text_width, attention_head_dim=known.heads, norm_num_groups=UNET_GROUPS,
    )  # fmt: skip


def build_scheduler() -> DPMSolverMultistepScheduler:
    """DPM-Solver++(2M) on the noise of Stable Diffusion, scaled so that nothing of the image is left at its
    end, and started there."""
    return DPMSolverMultistepScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", steps_offset=1,
    )  # fmt: skip


def noise_levels() -> tuple[Tensor, Tensor]:
    """alpha_t and sigma_t, float32 (T,), of the scheduler; alpha ends at 0."""
    alpha_bar = DDPMScheduler.from_config(build_scheduler().config).alphas_cumprod
    return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


class Autoencoder(nn.Module):
    """An AutoencoderKL as its training calls it."""

    def __init__(self, both: AutoencoderKL):
        super().__init__()
        self.both = both

    def forward(self, images: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """The images decoded from mean + deviation * eps, and the (B, 2 D, s, s) means and log-variances."""
        posterior = self.both.encode(images).latent_dist
        return self.both.decode(posterior.mean + posterior.std * eps).sample, posterior.parameters


class Denoiser(nn.Module):
    """Text encoder and U-Net as their training calls them: the prediction in eq. (latent_diffusion.3)."""

    def __init__(self, text_encoder: CLIPTextModel, unet: UNet2DConditionModel):
        super().__init__()
        self.text_encoder, self.unet = text_encoder, unet

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor) -> Tensor:
        """(B, D, s, s), (B,), (B, L) -> (B, D, s, s)."""
        words = self.text_encoder(tokens).last_hidden_state  # (B, L, text_width)
        return self.unet(x_t, t, words).sample


def build_denoiser(known: Description, autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer) -> Denoiser:
    """Untrained, for the latents of this autoencoder."""
    given = autoencoder.config
    size = given.sample_size // 2 ** (len(given.block_out_channels) - 1)
    if (given.latent_channels, size) != (known.latent_channels, known.latent_size):
        raise InputError(
            f"--autoencoder: makes {given.latent_channels} x {size} x {size} latents of images of "
            f"{given.sample_size} pixels; --size, --autoencoder-channels, --latent-channels ask for "
            f"{known.latent_channels} x {known.latent_size} x {known.latent_size}"
        )
    return Denoiser(build_text_encoder(known, tokenizer), build_unet(known))


def read_autoencoder(run_dir: Path) -> AutoencoderKL:
    """That of a run of the first stage, for use alone."""
    folder = run_dir / AUTOENCODER
    if not (folder / "config.json").is_file():
        raise InputError(
            f"--autoencoder {run_dir}: no {AUTOENCODER}/config.json there; name a run directory of --stage "
            "autoencoder that has been measured once"
        )
    try:
        return AutoencoderKL.from_pretrained(folder).requires_grad_(False).eval()
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: no autoencoder of diffusers ({str(error).splitlines()[0]})") from error


# ---- the pipeline


def assemble(
    autoencoder: AutoencoderKL, text_encoder: CLIPTextModel, tokenizer: CLIPTokenizer,
    unet: UNet2DConditionModel, scheduler: DPMSolverMultistepScheduler,
) -> StableDiffusionPipeline:  # fmt: skip
    """All parts together, without a safety checker: the model knows nothing but portraits."""
    pipeline = StableDiffusionPipeline(
        autoencoder, text_encoder, tokenizer, unet, scheduler, safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write the pipeline's folder in float16.  `from_pretrained` computes with it in float32 unless told
    otherwise."""
    halves = {name: copy.deepcopy(part).half() if isinstance(part, nn.Module) else part
              for name, part in pipeline.components.items()}  # fmt: skip
    with atomic.replacing_folder(folder, advice="free some space or choose another --outdir") as beside:
        StableDiffusionPipeline(**halves, requires_safety_checker=False).save_pretrained(beside)
        # diffusers opens its parts in float32, transformers in what the configuration says
        config = beside / "text_encoder" / "config.json"
        config.write_text(config.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))


def unknown_words(tokenizer: CLIPTokenizer, prompt: str) -> list[str]:
    """Words of the prompt that the model never saw; none for a tokenizer that keeps no list of its words, as
    that of Stable Diffusion, which knows most of English."""
    words = tokenizer.init_kwargs.get("known_words")
    known = set(words or ()) | set(RARE_WORDS)
    return (
        []
        if words is None
        else [word for word in dict.fromkeys(avatar_captions.words_in(prompt)) if word not in known]
    )
