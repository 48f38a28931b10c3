"""The lab's parts by themselves: networks, losses, images by name, walks and how smooth they are."""

import math

from common.data import ImageSet, creatures, to_model_range
from common.errors import InputError
from common.latent_space import kl_to_standard_normal, truncated
from common.metrics import samples
from common.metrics.perceptual import Perceptual, pixel_error

import pytest
import torch
from torch import nn

from lab8_generative import generate, interpolate, lab_images, networks, reconstruction, train_gan
from lab8_generative.invert import invert


@pytest.mark.parametrize("size", networks.SIZES)
def test_the_ways_up_and_down_fit_each_other(size):
    x = torch.rand(3, 3, size, size) * 2 - 1
    for kind in (networks.Autoencoder, networks.VAE):
        model = kind(size, 4, 5)
        images, kl = model(x)
        assert images.shape == x.shape and kl.shape == (3,) and model.encode(x).shape == (3, 5)
        assert images.abs().max() <= 1
    assert networks.Discriminator(size, 4)(x).shape == (3,)


def test_the_vae_s_kl_is_that_of_its_posterior_summed_over_latents():
    model = networks.VAE(48, 4, 6).eval()
    x = to_model_range(creatures.draw_set("val", 48, 3).images)
    mu, log_variance = model.posterior(x)
    assert mu.shape == log_variance.shape == (3, 6)
    assert torch.equal(model(x)[1], kl_to_standard_normal(mu, log_variance).sum(1))
    assert torch.equal(model.encode(x), mu)
    assert not torch.equal(model.draw_latents(x), model.draw_latents(x))
    ae = networks.Autoencoder(48, 4, 6).eval()
    assert ae(x)[1].tolist() == [0, 0, 0] and torch.equal(ae.draw_latents(x), ae.encode(x))


def test_the_discriminator_begins_with_weights_that_keep_the_signal():
    torch.manual_seed(0)
    for layer in networks.Discriminator(48, 16).layers:
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.weight[0].numel()
            wanted = math.sqrt(2 / (1 + 0.2**2) / fan_in)  # He et al. (2015) for a leak of 0.2
            assert layer.weight.std().item() == pytest.approx(wanted, rel=0.1)


@torch.no_grad()
def test_the_vae_decodes_draws_of_its_posterior():
    """The same noise by hand: the mean and then the deviation, of eq. (vae.4)."""
    torch.manual_seed(0)
    model = networks.VAE(48, 4, 5).eval()
    nn.init.constant_(model.encoder[-1].bias[5:], -3)
    x = torch.rand(3, 3, 48, 48) * 2 - 1
    mu, log_variance = model.posterior(x)
    assert (log_variance + 3).abs().max() < 1
    torch.manual_seed(1)
    z = mu + (log_variance / 2).exp() * torch.randn(3, 5)
    torch.manual_seed(1)
    assert (model.draw_latents(x) - z).abs().max() < 1e-6
    torch.manual_seed(1)
    images, kl = model(x)
    assert (images - model.decoder(z)).abs().max() < 1e-6
    assert (kl - (mu.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2).abs().max() < 1e-4


def test_the_table_of_shapes_goes_down_to_the_latents_and_up_again(capsys):
    networks.main(networks.Config(size=48, width=4, latent=5))
    down, up = capsys.readouterr().out.split("way up")
    shown = [[line.split()[:2] for line in way.splitlines()[1:]] for way in (down, up)]
    assert shown[0][0] == ["Conv2d", "4x24x24"] and shown[0][-1] == ["Linear", "5"]
    assert shown[1][0] == ["Linear", "288"] and shown[1][-1] == ["ConvTranspose2d", "3x48x48"]


def test_an_autoencoder_learns_one_batch_by_heart():
    torch.manual_seed(0)
    x = to_model_range(creatures.draw_set("train", 48, 4).images)
    model = networks.Autoencoder(48, 8, 8)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    first = None
    for _ in range(150):
        error = pixel_error("l1", x, model(x)[0]).mean()
        first = first or error.item()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error.item() < 0.3 * first


def test_errors_of_known_images():
    black, half = -torch.ones(2, 3, 4, 5), torch.zeros(2, 3, 4, 5)
    assert pixel_error("l1", black, half).tolist() == [0.5, 0.5]
    assert pixel_error("mse", black, half).tolist() == [0.25, 0.25]


def test_the_perceptual_error_is_zero_for_equal_images_and_sees_a_shift_of_the_outline():
    images = to_model_range(creatures.draw_set("val", 48, 3).images)
    perceptual = Perceptual()
    assert perceptual(images, images).abs().max() < 1e-6
    x = images.clone().requires_grad_()
    perceptual(images.roll(3, 3), x).sum().backward()
    assert x.grad.abs().sum((1, 2, 3)).min() > 0
    assert not any(p.requires_grad for p in perceptual.parameters())


@pytest.mark.parametrize(("loss", "share"), [("l1", 1.0), ("mse", 0.5), ("perceptual", 1.0)])
def test_nats_are_the_likelihood_at_the_best_scale_with_its_gradient(loss, share):
    errors = torch.tensor([0.1, 0.3, 0.2], dtype=torch.float64, requires_grad=True)
    value = reconstruction.nats(loss, errors, 100).mean()
    assert value.item() == pytest.approx(share * 100 * math.log(0.2))
    (gradient,) = torch.autograd.grad(value, errors)
    (expected,) = torch.autograd.grad(share * 100 * errors.mean().log(), errors)
    assert (gradient - expected).abs().max() < 1e-12


def test_mirrored_images_come_after_the_others():
    images = creatures.draw_set("val", 48, 3)
    both = lab_images.with_mirrored(images)
    assert torch.equal(both.images[3:].flip(-1), images.images) and torch.equal(
        both.images[:3], images.images
    )
    assert both.labels.tolist() == images.labels.tolist() * 2


def test_images_are_found_by_number_and_by_name():
    images = torch.zeros(3, 3, 4, 4, dtype=torch.uint8)
    named = ImageSet(
        images, "sprites", "train", "", file_names=("images/0025.png", "images/7.png", "a/x.png")
    )
    found = {
        wanted: lab_images.find_image(named, wanted) for wanted in ("0", "2", "7", "0025", "x", "a/x.png")
    }
    assert found == {"0": 0, "2": 2, "7": 1, "0025": 0, "x": 2, "a/x.png": 2}
    for wanted in ("-1", "99", "missing"):
        with pytest.raises(InputError, match="0 to 2") as caught:
            lab_images.find_image(named, wanted)
        assert wanted in str(caught.value) and "\n" not in str(caught.value)


def test_a_number_written_as_the_files_are_called_is_a_name():
    """0025 and 1025 never mean row 25 or 1025 where 0025.png and 1025.png are in another split."""
    images = torch.zeros(40, 3, 4, 4, dtype=torch.uint8)
    padded = ImageSet(
        images, "p", "val", "", file_names=tuple(f"images/{n:04d}.png" for n in range(100, 140))
    )
    plain = ImageSet(images, "p", "val", "", file_names=tuple(f"{n}.png" for n in range(100, 140)))
    assert lab_images.find_image(padded, "0110") == 10 == lab_images.find_image(plain, "110")
    assert lab_images.find_image(padded, "25") == 25
    for named, wanted in ((padded, "0025"), (padded, "1025"), (plain, "25"), (padded, "٢٥٢٥")):
        with pytest.raises(InputError, match="no file is called so among the 40 of the val split"):
            lab_images.find_image(named, wanted)
    mixed = ImageSet(images[:2], "p", "val", "", file_names=("7.png", "0.png"))
    assert [lab_images.find_image(mixed, wanted) for wanted in ("0", "7")] == [1, 0]
    with pytest.raises(InputError, match="no file is called so"):
        lab_images.find_image(mixed, "01")
    with pytest.raises(InputError, match="no such number among the 40 of the val split of p; use 0 to 39"):
        lab_images.find_image(ImageSet(images, "p", "val", ""), "0025")
    decomposed = ImageSet(images[:2], "p", "val", "", file_names=("a/и\u0306.png", "и\u0306.png"))
    assert lab_images.find_image(decomposed, "й.png") == 1


def test_truncation_moves_latents_to_their_mean():
    z = torch.randn(50, 3)
    assert torch.equal(truncated(z, 1.0), z.mean(0) + (z - z.mean(0)))
    assert torch.equal(truncated(z, 0.0, torch.ones(3)), torch.ones(50, 3))
    assert truncated(z, 0.0).std(0).max() == 0
    assert (truncated(z, 0.5).var(0) / z.var(0) - 0.25).abs().max() < 1e-5


def test_the_nearest_training_image_of_a_training_image_is_itself():
    train = creatures.draw_set("train", 48, 30).images
    found = generate.nearest_training_images(train[[7, 3]], train)
    assert found.row[:, 0].tolist() == [7, 3]
    assert found.distance.tolist() == [[0.0], [0.0]]
    grey = torch.full((1, 3, 48, 48), 100, dtype=torch.uint8)
    assert generate.nearest_training_images(grey, grey + 51).distance.item() == pytest.approx(0.2, abs=1e-4)


def test_walks_begin_and_end_at_the_latents_and_the_arc_keeps_the_length():
    start, end = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 3.0])
    for way in ("linear", "spherical"):
        z = interpolate.walk(start, end, 5, way)
        assert (z[0] - start).abs().max() < 1e-6 and (z[-1] - end).abs().max() < 1e-6
    assert (z.norm(dim=1) - 3).abs().max() < 1e-5
    assert interpolate.walk(start, end, 5, "linear")[2].tolist() == [1.5, 1.5]


def test_smoothness_of_a_cross_fade_is_1_and_of_one_jump_the_number_of_steps():
    first = torch.zeros(3, 4, 5, dtype=torch.uint8)
    last = torch.full_like(first, 200)
    fade = interpolate.cross_fade(first, last, 11)
    assert interpolate.smoothness(fade) == pytest.approx({"largest_step": 1, "detour": 1})
    jump = torch.stack([first] * 6 + [last] * 5)
    assert interpolate.smoothness(jump) == pytest.approx({"largest_step": 10, "detour": 1})
    back = torch.stack([first, last, first, last])  # twice too far and home again
    assert interpolate.smoothness(back)["detour"] == pytest.approx(3)
    with pytest.raises(InputError, match="look the same"):
        interpolate.smoothness(torch.stack([first] * 3))


def test_a_loop_shows_no_end_twice():
    assert interpolate.there_and_back(torch.arange(4)).tolist() == [0, 1, 2, 3, 2, 1]


def test_the_strip_and_the_film_show_the_whole_way_beside_the_cross_fade(tmp_path, monkeypatch):
    films, sheets = [], []
    monkeypatch.setattr(interpolate.figures, "save_gif", lambda path, frames, ms: films.append(frames))
    monkeypatch.setattr(
        interpolate.figures, "save_grid", lambda path, images, *_, **__: sheets.append(images)
    )
    grey = lambda levels: torch.tensor(levels, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 128, 128)
    way, fade, pair = grey(range(0, 170, 10)), grey(range(1, 171, 10)), grey([250, 251])  # 17 each
    config = interpolate.Config(tmp_path, "0", "1", frames=32)
    interpolate.save_figures(tmp_path, pair, way, fade, config)
    (film,), (sheet,) = films, sheets
    there = list(range(0, 170, 10))
    loop = there + there[-2:0:-1]
    assert film[:, 0, 0, 0].tolist() == loop
    assert film[:, 0, 0, -1].tolist() == [level + 1 for level in loop]
    rows = [[250, *there[::2], 251], [250, *(level + 1 for level in there[::2]), 251]]
    assert sheet[:, 0, 0, 0].view(2, -1).tolist() == rows


def test_inversion_finds_the_image_of_a_known_latent():
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 3 * 48 * 48), nn.Unflatten(1, (3, 48, 48)), nn.Tanh())
    true = torch.tensor([[1.0, -0.5], [-0.7, 0.4]])
    images = samples.decode(decoder, true)
    generator = torch.Generator().manual_seed(0)
    z, errors = invert(decoder, images, 2, steps=60, restarts=6, lr=0.1, generator=generator)
    away = pixel_error("mse", to_model_range(images), to_model_range(images).flip(0))
    assert z.shape == (2, 2) and (errors < 0.05 * away).all()


def test_inversion_keeps_the_best_of_its_starts():
    torch.manual_seed(0)
    decoder = nn.Sequential(nn.Linear(2, 3 * 48 * 48), nn.Unflatten(1, (3, 48, 48)), nn.Tanh())
    images = samples.decode(decoder, torch.tensor([[1.0, -0.5], [-0.7, 0.4]]))
    flags = {"steps": 1, "restarts": 12, "lr": 1e-9}  # the starts themselves
    z, _ = invert(decoder, images, 2, **flags, generator=torch.Generator().manual_seed(3))
    starts = torch.randn(24, 2, generator=torch.Generator().manual_seed(3))
    errors = Perceptual()(to_model_range(images).repeat_interleave(12, 0), decoder(starts)).view(2, 12)
    assert (z - starts.view(2, 12, 2)[[0, 1], errors.argmin(1)]).abs().max() < 1e-6


def test_inversion_pulls_latents_that_change_nothing_to_0():
    class Grey(nn.Module):
        def forward(self, z):
            return torch.zeros(len(z), 3, 48, 48)

    images = torch.full((1, 3, 48, 48), 128, dtype=torch.uint8)
    flags = {"steps": 30, "restarts": 1, "lr": 0.05}
    z, _ = invert(Grey(), images, 4, **flags, generator=torch.Generator().manual_seed(0))
    start = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    assert (z.abs() < start.abs()).all()


def test_inversion_weighs_the_error_against_the_length_of_z(monkeypatch):
    """(x - z / 10)^2 + z^2 / 100 is least at z = 5 x."""
    error = lambda target, image: (target - image).square().mean((1, 2, 3))
    monkeypatch.setattr("lab8_generative.invert.Perceptual", lambda: error)

    class Brightness(nn.Module):
        def forward(self, z):
            return (z / 10)[..., None, None].expand(-1, 3, 4, 4)

    images = torch.full((1, 3, 4, 4), 153, dtype=torch.uint8)  # x = 0.2
    flags = {"steps": 200, "restarts": 1, "lr": 0.05}
    z, _ = invert(Brightness(), images, 1, **flags, generator=torch.Generator().manual_seed(0))
    assert z.item() == pytest.approx(1, abs=0.02)


def test_the_rate_of_an_inversion_falls_to_0_over_the_second_half(monkeypatch):
    rates = []

    class Noting(torch.optim.Adam):
        def step(self):
            rates.append(self.param_groups[0]["lr"])
            super().step()

    monkeypatch.setattr(torch.optim, "Adam", Noting)
    decoder = nn.Sequential(nn.Linear(2, 3 * 48 * 48), nn.Unflatten(1, (3, 48, 48)))
    images = torch.full((1, 3, 48, 48), 128, dtype=torch.uint8)
    invert(decoder, images, 2, steps=4, restarts=1, lr=0.1, generator=torch.Generator().manual_seed(0))
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.05])


@pytest.mark.parametrize("size", networks.SIZES)
def test_a_generator_of_nearest_neighbours_has_one_kernel_for_all_pixels(size):
    """A map that is the same everywhere stays so inside; a transposed convolution has four kernels."""
    torch.manual_seed(0)
    generator = networks.way_up(size, 4, 6, upsampling="nearest")
    assert generator(torch.randn(3, 6)).shape == (3, 3, size, size)
    inside = lambda layer: layer(torch.ones(1, 4, 8, 8))[:, :, 2:-2, 2:-2].std((2, 3)).max().item()
    assert inside(networks.doubling(4, 3, "nearest")) < 1e-6
    assert inside(networks.doubling(4, 3, "transposed")) > 1e-2


@pytest.mark.parametrize("upsampling", ["transposed", "nearest"])
def test_the_gan_is_built_with_the_upsampling_it_is_told(upsampling):
    config = train_gan.Config(size=48, width=4, latent=6, upsampling=upsampling)
    built, _ = train_gan.build(config)
    wanted = networks.way_up(48, 4, 6, upsampling=upsampling)
    assert [one.shape for one in built.parameters()] == [one.shape for one in wanted.parameters()]
