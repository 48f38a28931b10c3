"""ControlNet: no effect at the start and gradients all the same, what trains, edges and their agreement."""

import json
from pathlib import Path

from common import checkpoints, figures
from common.errors import InputError

import pytest
import torch
from small_text_to_image import SMALL, folder, pipeline, tuning

from hw4_diffusion import drawing, edges, pipelines, train_controlnet, tuned
from hw4_diffusion.small_pipeline import Description
from hw4_diffusion.train_controlnet import ControlledUNet, build, sudden_step


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return folder(tmp_path_factory.mktemp("model") / "small")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


def config(model: str, outdir: Path, data_dir: Path, **changes) -> train_controlnet.Config:
    small = {"train_images": 16, "validation_images": 3, "validation_steps": 3, "data_dir": data_dir}
    return train_controlnet.Config(**tuning(model, outdir, **(small | changes)))


@pytest.fixture(scope="module")
def trained(model, data_dir, tmp_path_factory) -> Path:
    return train_controlnet.main(config(model, tmp_path_factory.mktemp("runs"), data_dir))


def inputs(pipe) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(1)
    words = pipelines.words(pipe, ["a portrait of a person"]).expand(2, -1, -1)
    return torch.randn(2, 4, 8, 8), torch.tensor([10, 700]), words, (torch.rand(2, 3, 32, 32) > 0.9).float()


# ---- zero convolutions


def test_it_begins_without_any_effect():
    pipe = pipeline()
    z, t, words, condition = inputs(pipe)
    controlled = ControlledUNet(pipe.unet, build(pipe))
    with torch.no_grad():
        assert torch.equal(controlled(z, t, words, condition), pipe.unet(z, t, words).sample)


def test_zero_convolutions_have_gradients_and_what_is_before_them_gets_its_own_a_step_later():
    """Eq. (latent_diffusion.13)."""
    pipe = pipeline()
    controlnet = build(pipe)
    controlled = ControlledUNet(pipe.unet.requires_grad_(False), controlnet)
    zero = {name for name, p in controlnet.named_parameters() if (p == 0).all() and name.endswith("weight")}
    ends = {name for name in zero if name.startswith(("controlnet_down_blocks", "controlnet_mid_block"))}
    assert len(ends) == len(controlnet.controlnet_down_blocks) + 1
    optimizer = torch.optim.SGD(controlnet.parameters(), 0.1)
    wanted = torch.randn(2, 4, 8, 8)
    for step in range(2):
        optimizer.zero_grad()
        (controlled(*inputs(pipe)) - wanted).square().mean().backward()
        gradients = {name: p.grad for name, p in controlnet.named_parameters() if p.grad is not None}
        moved = {name for name, gradient in gradients.items() if gradient.abs().max() > 0}
        if step == 0:
            assert moved == ends | {name.replace("weight", "bias") for name in ends}
        else:
            assert "conv_in.weight" in moved
            assert "controlnet_cond_embedding.conv_out.weight" in moved
        optimizer.step()
    assert all(p.grad is None for p in pipe.unet.parameters())


def test_it_reads_edges_of_images_of_every_size_of_autoencoder():
    for channels in ((8, 16), (8, 8, 16), (8, 8, 8, 8)):
        pipe = pipeline(Description(**{**vars(SMALL), "autoencoder_channels": channels}))
        side = 32 // 2 ** (len(channels) - 1)
        z, t, words, condition = inputs(pipe)
        z = torch.randn(2, 4, side, side)
        assert ControlledUNet(pipe.unet, build(pipe))(z, t, words, condition).shape == z.shape


# ---- training


def test_the_controlnet_trains_and_the_unet_does_not(model, trained):
    content = checkpoints.read(trained / "checkpoints" / "checkpoint-6.pt")["parts"]
    before = dict(build(pipelines.load(model)).named_parameters())
    assert content["controlnet"].keys() == before.keys()
    moved = [not torch.equal(content["controlnet"][name], value) for name, value in before.items()]
    assert sum(moved) > 0.9 * len(moved)
    assert all(value.dtype == torch.float32 for value in content["controlnet"].values())
    summary = json.loads((trained / "summary.json").read_text())
    assert 0 <= summary["metrics"]["val/edges_f1"] <= 1 and summary["n_val"] == 3
    names = sorted(path.name for path in (trained / "samples").iterdir())
    assert names == ["edges-000003.png", "edges-000006.png"]
    assert summary["figures"] == ["edges_f1.png"] and (trained / "edges_f1.png").is_file()
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "val/edges_f1" in line] == [3, 6]


def test_edges_and_captions_are_those_of_the_pictures_of_the_batch(model, data_dir, tmp_path, monkeypatch):
    seen = {}
    original = ControlledUNet.forward

    def spy(self, z_t, t, words, condition):
        seen.update(words=words, condition=condition)
        return original(self, z_t, t, words, condition)

    monkeypatch.setattr(ControlledUNet, "forward", spy)
    one = config(model, tmp_path, data_dir, max_train_steps=1, proportion_empty_prompts=0.0)
    train_controlnet.main(one)
    images = train_controlnet.load(one, "train", 32)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))[:4]
    assert torch.equal(seen["condition"], edges.canny(images.images[order]).float() / 255)
    said = train_controlnet.captions(images, 0)
    pipe = pipelines.load(model)
    wanted = torch.cat([pipelines.words(pipe, [said[i]]) for i in order])
    assert (seen["words"] - wanted).abs().max() < 1e-5
    train_controlnet.main(config(model, tmp_path, data_dir, max_train_steps=1, proportion_empty_prompts=1.0))
    assert (seen["words"] - pipelines.words(pipe, [""])).abs().max() < 1e-5


def test_resumed_it_ends_with_the_same_bits(model, data_dir, trained, tmp_path):
    run_dir = train_controlnet.main(config(model, tmp_path, data_dir, max_train_steps=4))
    train_controlnet.main(config(model, tmp_path, data_dir, resume=run_dir))
    files = [each / "checkpoints" / "checkpoint-6.pt" for each in (run_dir, trained)]
    ours, whole = (checkpoints.read(file)["parts"]["controlnet"] for file in files)
    assert all(torch.equal(ours[name], value) for name, value in whole.items())


def test_what_is_left_controls_the_base_and_the_tuned_model(model, trained):
    pipe = pipelines.load(model)
    controlnet = tuned.controlnet(str(trained), pipe)
    with torch.no_grad():
        for parameter in controlnet.controlnet_mid_block.parameters():
            parameter.fill_(0.5)
    lines = edges.canny(torch.randint(0, 255, (2, 3, 32, 32), dtype=torch.uint8))
    draw = lambda **more: drawing.draw(
        pipe, ["a person"] * 2, [0, 1], resolution=32, steps=2, guidance=4.0, **more
    ).int()  # fmt: skip
    free, led = draw(), draw(controlnet=controlnet, edges=lines)
    assert (free - led).abs().max() > 2
    assert torch.equal(draw(), free)  # the pipeline itself stays as it was


def test_captions_are_those_of_what_the_pictures_show_whatever_the_folders_name(model, tmp_path):
    folder = tmp_path / "avatars"
    for k in range(3):
        figures.save_png(folder / "train" / f"{k}.png", torch.full((3, 16, 16), 80 * k, dtype=torch.uint8))
    images = train_controlnet.load(config(model, tmp_path, tmp_path, train_data=str(folder)), "train", 16)
    assert images.name == "avatars" and train_controlnet.captions(images, 0) == [""] * len(images)
    with pytest.raises(InputError, match="--train_data digits: grey images"):
        train_controlnet.load(config(model, tmp_path, tmp_path, train_data="digits"), "val", 16)


def test_a_controlnet_of_another_model_is_named(trained, tmp_path):
    other = pipeline(Description(**{**vars(SMALL), "unet_channels": (16, 48)}))
    with pytest.raises(InputError, match=r"--controlnet .*: made for another model \(block_out_channels"):
        tuned.controlnet(str(trained), other)
    with pytest.raises(InputError, match="--controlnet nowhere: no such folder, and no hub id"):
        tuned.controlnet("nowhere", other)


def test_the_sudden_step_is_where_f1_rises_most():
    assert sudden_step([10, 20, 30, 40], [0.2, 0.21, 0.7, 0.75]) == 30
    assert sudden_step([10, 20], [0.3, 0.2]) is None and sudden_step([10], [0.3]) is None


# ---- edges


def stripes() -> torch.Tensor:
    """A white square on black, uint8 (1, 3, 24, 24)."""
    image = torch.zeros(1, 3, 24, 24, dtype=torch.uint8)
    image[:, :, 6:18, 5:17] = 255
    return image


def test_the_edge_of_a_square_is_a_line_one_pixel_wide():
    found = edges.canny(stripes())[0, 0] > 0
    assert found[12].sum() == 2 and found[:, 11].sum() == 2  # across the middle: one pixel at each side
    columns, rows = found[12].nonzero()[:, 0].tolist(), found[:, 11].nonzero()[:, 0].tolist()
    assert columns[0] in (4, 5) and columns[1] in (16, 17) and rows[0] in (5, 6) and rows[1] in (17, 18)
    assert not found[:3].any() and not found[9:15, 8:14].any()
    assert not edges.canny(
        torch.full((1, 3, 24, 24), 255, dtype=torch.uint8)
    ).any()  # no frame around a picture


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_slanting_edge_is_a_thin_staircase(mirrored):
    """From one corner to the other, whichever way it leans: two pixels in every row, one above the next."""
    row, column = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    white = (column > row) if mirrored else (column + row > 23)
    found = edges.canny((255 * white).to(torch.uint8).expand(1, 3, -1, -1))[0, 0] > 0
    along = row if mirrored else 23 - row
    assert (found[3:21].sum(1) == 2).all()
    assert (column - along)[found].abs().max() <= 1


def test_weak_edges_count_only_beside_strong_ones():
    ramp = torch.linspace(0.1, 1, 30)  # a vertical edge whose contrast grows downwards
    image = torch.zeros(1, 3, 30, 20)
    image[..., 10:] = ramp[None, None, :, None]
    image = (255 * image).to(torch.uint8)
    found = edges.canny(image, strong=0.8, weak=0.3)[0, 0]
    strong_only = edges.canny(image, strong=0.8, weak=0.8)[0, 0]
    rows = lambda each: set(each.nonzero()[:, 0].tolist())
    assert rows(strong_only) < rows(found) and min(rows(found)) == pytest.approx(30 * 0.22, abs=2)
    faint = (image.float() * 0.5).to(torch.uint8)  # nothing strong: nothing at all
    assert not edges.canny(faint, strong=0.8, weak=0.1).any()


def test_grey_noise_below_the_threshold_has_no_edges():
    torch.manual_seed(0)
    assert not edges.canny((128 + 5 * torch.randn(2, 3, 16, 16)).to(torch.uint8)).any()


def test_agreement_counts_pixels_within_one():
    line, moved, far = (torch.zeros(1, 3, 16, 16, dtype=torch.uint8) for _ in range(3))
    line[..., 5], moved[..., 6], far[..., 9] = 255, 255, 255
    assert edges.agreement(line, line).item() == 1 and edges.agreement(moved, line).item() == 1
    assert edges.agreement(far, line).item() == 0
    both = torch.maximum(line, far)
    assert edges.agreement(both, line).item() == pytest.approx(2 / 3)  # precision 1/2, recall 1
    nothing = torch.zeros_like(line)
    assert edges.agreement(nothing, nothing).item() == 1 and edges.agreement(nothing, line).item() == 0


def test_portraits_have_edges_that_agree_with_themselves_alone(data_dir, model, tmp_path):
    images = train_controlnet.load(config(model, tmp_path, data_dir), "train", 32).images
    lines = edges.canny(images)
    assert 0.05 < (lines > 0).float().mean() < 0.3
    assert edges.agreement(lines, lines).min() == 1
    assert edges.agreement(lines, lines.roll(1, 0)).mean() < 0.75
