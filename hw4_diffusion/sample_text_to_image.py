"""Draw portraits from prompts.  Theory: theory/en/diffusion.md, eqs. (diffusion.19), (diffusion.22).

python hw4_diffusion/sample_text_to_image.py
python hw4_diffusion/sample_text_to_image.py --prompts "a sad person with long wavy red hair, sunglasses"
python hw4_diffusion/sample_text_to_image.py --model runs/hw4/0002-text-to-image-avatars --guidance 1

The shipped model knows some hundred words; others in a prompt are named.  Image k of each prompt begins with
the same noise k.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from common import command_line, devices, figures
from common.command_line import warn
from common.errors import InputError
from common.flags import Flags, Seed

from annotated_types import Interval, Len

from hw4_diffusion import drawing, pipelines, small_pipeline
from hw4_diffusion.text_to_image_figures import titled

PROMPTS = (
    "a portrait of a smiling person with short curly red hair, round glasses and a green hoodie",
    "a drawing of a sad face, long straight blond hair, no glasses, in a black v-neck tee, violet background",
    "an angry character in an orange overall, sunglasses, a bald head and black eyebrows, looking left",
)


@dataclass(frozen=True)
class Config(Flags):
    """Flags of sample_text_to_image.py."""

    prompts: Annotated[tuple[str, ...], Len(min_length=1)] = PROMPTS
    """What to draw: a row for each."""
    negative_prompt: str = ""
    """What the samples are led away from, in place of the empty prompt."""
    model: pipelines.Model = "avatars"
    """The shipped model, a run directory of train_text_to_image.py, or another pipeline of diffusers."""
    count: Annotated[int, Interval(ge=1, le=100)] = 8
    """Images of each prompt."""
    guidance: drawing.Guidance = 4.0
    """What the prompt changes is multiplied with that; 1 leaves it."""
    steps: drawing.Steps = 20
    """Steps of DPM-Solver++."""
    seed: Seed = 0
    """Seed of all noise."""
    outdir: Path = Path("samples")
    """Folder of the picture; made if need be."""
    device: str = "auto"
    """Device to draw on: auto, cpu, mps, cuda or cuda:N."""


def main(config: Config) -> None:
    guided = config.guidance > 1
    command_line.warn_of_idle(config, "negative_prompt", needs="--guidance above 1", met=guided)
    device = devices.start(config.device, seed=config.seed)
    pipeline = pipelines.load(config.model, flag="--model").to(device.torch)
    for text in (*config.prompts, config.negative_prompt):
        if unknown := small_pipeline.unknown_words(pipeline.tokenizer, text):
            warn(f"{text!r}: the model does not know {', '.join(unknown)}; what it draws for that is chance")
    texts = [text for text in config.prompts for _ in range(config.count)]
    seeds = [config.seed + column for column in range(config.count)] * len(config.prompts)
    drawn = drawing.draw(
        pipeline, texts, seeds, steps=config.steps, guidance=config.guidance,
        negative_prompt=config.negative_prompt,
    )  # fmt: skip
    path = config.outdir / "portraits.png"
    try:
        figures.save_grid(path, drawn, config.count, row_titles=[titled(text) for text in config.prompts])
    except OSError as error:
        raise InputError(f"--outdir {config.outdir}: {error.strerror}; choose another folder") from error
    print(path)


if __name__ == "__main__":
    command_line.run(main, Config)
