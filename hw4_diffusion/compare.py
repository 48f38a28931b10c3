"""Compare what fine-tuning made of a text-to-image model: the model as it was, the U-Net, each LoRA.

python hw4_diffusion/compare.py --unet runs/hw4/0001-dreambooth-drawn1 \\
    --lora runs/hw4/0002-lora-drawn1-rank2 runs/hw4/0003-lora-drawn1-rank8
python hw4_diffusion/compare.py --lora runs/hw4/0002-lora-drawn1-rank2 \
    --controlnet runs/hw4/0005-controlnet-avatars
python hw4_diffusion/compare.py --pretrained_model_name_or_path stable-diffusion-v1-5/stable-diffusion-v1-5 \\
    --lora runs/hw4/0007-lora-anna-rank8 --controlnet lllyasviel/sd-controlnet-canny --subject photos/anna

Every model gets the same prompts and the same seeds; image k comes from seed k alone, in whatever batch it is
drawn.  Sheets show a row for each prompt and a column for each model.  The table says whether the subject is
recognised, whether the prompt is obeyed, and how far images without the token moved from what they were.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, replace
from pathlib import Path

from common import command_line, devices, figures, runs, text_table
from common.data import ImageSet, avatars
from common.flags import Count, CountOrZero, Flags, Folder, Pixels, Seed
from common.metrics import identity
from common.metrics.identity import IdentityName
from common.text_table import Column

import torch
from torch import Tensor

from hw4_diffusion import drawing, edges, pipelines, prompt_measures, prompts, subjects, tuned

PROMPTS = (
    "a portrait of a smiling {} person, green hoodie, mint background",
    "a portrait of a surprised {} person in a red overall, night blue background",
    "a portrait of an angry {} person wearing a white crew-neck tee, sand background",
    "a portrait of a sad {} person in a blue v-neck tee, rose background",
    "a portrait of a calm {} person wearing a black hoodie, violet background",
)
"""Five surroundings; {} is the token."""
PHOTO_PROMPTS = (
    "a photo of {} woman face in a snowy forest",
    "a photo of {} woman face on a beach at sunset",
    "a photo of {} woman face in an office, wearing a suit",
    "a photo of {} woman face as an astronaut",
    "an oil painting of {} woman face",
)
COLUMNS = (
    Column("model", "model"),
    Column("subject first of 100", "identity_first", ".0%"),
    Column("similarity", "identity", ".2f"),
    Column("prompt obeyed", "obeyed", ".0%"),
    Column("edges F1", "edges_f1", ".2f"),
    Column("class drifted", "drift", ".0%"),
    Column("others become the subject", "bleed", ".0%"),
    Column("minutes", "minutes", ".1f"),
    Column("trained", "trained_parameters", ",.0f"),
    Column("MB", "megabytes", ".2f"),
)


@dataclass(frozen=True)
class Config(Flags):
    """Flags of compare.py."""

    pretrained_model_name_or_path: pipelines.Model = "avatars"
    """Model that the others were made of."""
    unet: Folder | None = None
    """Run directory of dreambooth.py, or a pipeline's folder."""
    lora: tuple[Folder, ...] = ()
    """Run directories of train_lora.py, or folders or files of LoRA weights."""
    controlnet: pipelines.Model | None = None
    """Run directory of train_controlnet.py, a ControlNet's folder, or hub id: all draw along edges too."""
    prompts: tuple[str, ...] = ()
    """Prompts with the subject's token; five surroundings if left out."""
    instance_token: str = "sks"
    """Word that the subject is called by."""
    class_prompt: str = "a portrait of a person"
    """Prompt without the token, to see what became of the class."""
    subject: subjects.Subject = "drawn1"
    """The subject that was taught: drawn1, ..., drawn6, or a folder of pictures."""
    identity: IdentityName = "avatars"
    """Net that recognises people: a shipped one's name, a .safetensors file, a .py file with load(device)."""
    seeds: Count = 4
    """Images of each prompt."""
    class_images: CountOrZero = 400
    """Images without the token, of each model; 0 leaves out what is measured of them."""
    resolution: Pixels | None = None
    """Side of the images in pixels; the model's own if left out."""
    guidance_scale: drawing.Guidance = 1.5
    """How strongly images follow their prompt."""
    num_inference_steps: drawing.Steps = 20
    """Steps of the sampler."""
    batch_size: Count = 20
    """Images that are drawn at once."""
    data_dir: Folder | None = None
    """Folder of the image sets; default: data/ in the repository."""
    seed: Seed = 0
    """First seed of the images."""
    device: str = "auto"
    """Device to draw on: auto, cpu, mps, cuda or cuda:N."""
    outdir: Path = Path("runs")
    """Parent folder of the run directories."""

    def preset(self) -> Config:
        """Defaults for a model other than the small one."""
        if pipelines.is_small(self.pretrained_model_name_or_path):
            return self
        return replace(
            self, resolution=512, guidance_scale=7.5, num_inference_steps=30, batch_size=4,
            class_prompt="a photo of woman face", class_images=0,
        )  # fmt: skip


def main(config: Config) -> Path:
    device = devices.start(config.device, seed=config.seed, processes="one")
    unets = [tuned.UNet(config.unet)] if config.unet else []
    models = [tuned.Base(), *unets, *tuned.loras(config.lora)]
    pipeline = pipelines.load(config.pretrained_model_name_or_path)
    texts = prompts_of(config, pipeline)
    side = config.resolution or pipelines.own_resolution(pipeline)
    subject = subjects.load(config.subject, side, flag="--subject")
    net = recogniser(config, device)
    along = None
    if config.controlnet:
        tuned.controlnet(config.controlnet, pipeline)  # its mistakes are said before anything is drawn
        each, _ = prompts_with_seeds(texts, config.seed, config.seeds)
        along = condition(config, subject, each, side)
    with runs.start("hw4", f"compare-{subject.name}", config, device) as run:
        judge = Judge(config, subject, net, texts)
        for model in models:
            run.say(f"drawing with {model.name}")
            with model.inside(pipeline.to(device.torch)) as changed:
                draw = Drawing(config, changed, side)
                judge.note(model, draw.by_prompts(texts), draw.of_the_class())
                if along is not None:
                    controlnet = tuned.controlnet(config.controlnet, changed).to(device.torch)
                    judge.note_controlled(model, draw.by_prompts(texts, controlnet, along), along)
        judge.write(run)
        print(f"sheets and table: {run.folder}")
    return run.folder


def prompts_with_seeds(texts: tuple[str, ...], first: int, count: int) -> tuple[list[str], list[int]]:
    """Prompt and seed of every image: prompt by prompt, each with the seeds first, ..., first + count - 1.

    The same for every model, so that images differ by the model alone."""
    # task hw4.e: every prompt with the same seeds
    seeds = list(range(first, first + count))
    return [text for text in texts for _ in seeds], seeds * len(texts)
    # end task


class Drawing:
    """Images of one model."""

    def __init__(self, config: Config, pipeline, side: int):
        self.config, self.pipeline, self.side = config, pipeline, side

    def __call__(self, texts: list[str], seeds: list[int], **control) -> Tensor:
        config = self.config
        return drawing.draw(
            self.pipeline, texts, seeds, resolution=self.side, steps=config.num_inference_steps,
            guidance=config.guidance_scale, batch_size=config.batch_size, **control,
        )  # fmt: skip

    def by_prompts(self, texts: tuple[str, ...], controlnet=None, along: Tensor | None = None) -> Tensor:
        """(prompts x seeds, 3, S, S): prompt by prompt, each with all seeds."""
        each, seeds = prompts_with_seeds(texts, self.config.seed, self.config.seeds)
        return self(each, seeds, controlnet=controlnet, edges=along)

    def of_the_class(self) -> Tensor | None:
        count = self.config.class_images
        first = self.config.seed + 1000
        return self([self.config.class_prompt] * count, range(first, first + count)) if count else None


class Judge:
    """Collects the images of all models, measures them, and writes sheets and table."""

    def __init__(
        self, config: Config, subject: ImageSet, net: identity.Identity | None, texts: tuple[str, ...]
    ):
        self.config, self.subject, self.texts = config, subject, texts
        self.recognition = prompt_measures.Recognition(net, subject) if net else None
        self.each, _ = prompts_with_seeds(texts, config.seed, config.seeds)
        self.drawn: dict[str, Tensor] = {}
        self.rows: list[dict] = []
        self.class_before: dict[str, Tensor] | None = None
        self.along: Tensor | None = None

    def note(self, model, images: Tensor, of_class: Tensor | None) -> None:
        """A row: who is seen, what of the prompt, and what became of the class."""
        self.drawn[model.name] = images
        row = {"model": model.name, **model.facts(), **self.measured(images)}
        if of_class is not None and self.knows_attributes:
            now = prompt_measures.seen(of_class)
            self.class_before = self.class_before or now
            row["drift"] = prompt_measures.drift(self.class_before, now)
        if of_class is not None and self.recognition:
            row["bleed"] = self.recognition.first(of_class)
        self.rows.append(row)

    def note_controlled(self, model, images: Tensor, along: Tensor) -> None:
        """A row of images drawn along edges."""
        name, self.along = f"{model.name} + ControlNet", along
        self.drawn[name] = images
        f1 = edges.agreement(edges.canny(images), along).mean().item()
        self.rows.append({"model": name, **self.measured(images), "edges_f1": f1})

    def measured(self, images: Tensor) -> dict:
        """Of images by prompts."""
        row = {}
        if self.knows_attributes:
            row["obeyed"] = prompt_measures.obeyed(prompt_measures.seen(images), self.each)
        if self.recognition:
            row["identity"] = self.recognition.similarity(images)
            row["identity_first"] = self.recognition.first(images)
        return row

    @property
    def knows_attributes(self) -> bool:
        """Whether the model draws avatars, and the prompts ask for what their classifier reads."""
        small = pipelines.is_small(self.config.pretrained_model_name_or_path)
        return small and all(prompt_measures.asked(text) for text in self.texts)

    def write(self, run: runs.Run) -> None:
        """table.md, summary.json with all numbers, and a sheet for each seed."""
        table = text_table.markdown(COLUMNS, self.rows)
        runs.write_text_atomic(run.folder / "table.md", table)
        print(table)
        numbers = {
            f"{row['model']}: {name}": value
            for row in self.rows for name, value in row.items() if isinstance(value, (int, float))
        }  # fmt: skip
        run.summary(
            numbers, rows=self.rows, prompts=self.texts, n_images=len(self.each),
            n_class_images=self.config.class_images, seed=self.config.seed,
        )  # fmt: skip
        pictures = torch.arange(len(self.texts)).repeat_interleave(self.config.seeds)  # one for each prompt
        shown = {"the subject": self.subject.images[pictures % len(self.subject)]}
        free = shown | {name: images for name, images in self.drawn.items() if "ControlNet" not in name}
        led = {name: images for name, images in self.drawn.items() if "ControlNet" in name}
        for i in range(self.config.seeds):
            self.sheet(run.samples_dir / f"prompts-seed{self.config.seed + i}.png", free, i)
            if led:
                self.sheet(run.samples_dir / f"edges-seed{self.config.seed + i}.png",
                           {**shown, "edges": self.along, **led}, i)  # fmt: skip

    def sheet(self, path: Path, columns: dict[str, Tensor], seed: int) -> None:
        """One seed: a row for each prompt, a column for each model."""
        rows = range(seed, len(self.each), self.config.seeds)
        cells = torch.stack([images[row] for row in rows for images in columns.values()])
        figures.save_grid(
            path, cells, len(columns), row_titles=[broken(text) for text in self.texts],
            column_titles=[name.replace(" + ", "\n+ ").replace(", ", ",\n") for name in columns],
            zoom=max(1, round(128 / cells.shape[-1])),
            title="The same prompts and the same seed, by each model",
        )  # fmt: skip


# ---- checks, what is compared


def prompts_of(config: Config, pipeline) -> tuple[str, ...]:
    """The prompts with the token in its place; InputError where it is missing."""
    own = PROMPTS if pipelines.is_small(config.pretrained_model_name_or_path) else PHOTO_PROMPTS
    texts = config.prompts or tuple(text.format(config.instance_token) for text in own)
    for text in texts:
        prompts.check_instance(pipeline, text, config.instance_token, "--prompts")
    prompts.check_class(pipeline, config.class_prompt, config.instance_token)
    return texts


def recogniser(config: Config, device: devices.Device) -> identity.Identity | None:
    """The network of identities; the shipped one knows drawn people only."""
    if config.identity == "avatars" and config.subject not in subjects.DRAWN:
        print("--identity avatars knows drawn people only: who is in a photograph is not measured")
        return None
    return identity.load(config.identity, device.torch)


def condition(config: Config, subject: ImageSet, each: list[str], side: int) -> Tensor:
    """Edges to draw along, uint8 (N, 3, S, S), one for each prompt: of the subject's pictures; or of drawn
    strangers who show what the prompt asks and have the subject's hair and glasses."""
    if not subject.attributes:
        return edges.canny(subject.images[torch.arange(len(each)) % len(subject)])
    generator, people = torch.Generator().manual_seed(config.seed), avatars.people_of("val", config.seed)
    attributes = avatars.sample_attributes(len(each), generator, people)
    attributes |= {name: subject.attributes[name][:1].repeat(len(each)) for name in subjects.KEPT}
    for i, text in enumerate(each):
        for name, option in prompt_measures.asked(text).items():
            attributes[name][i] = option
    return edges.canny(avatars.draw(attributes, side))


def broken(text: str, width: int = 34) -> str:
    """A prompt in lines."""
    return textwrap.fill(text, width)


if __name__ == "__main__":
    command_line.run(main, Config)
