"""Checks of theory/{en,ru}/latent_diffusion.md: what latents save, conditions, text, two prompts."""

import math

from common import torchvision_operators  # noqa: F401  diffusers imports torchvision

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from hw4_diffusion import diffusion, drawing, small_pipeline
from hw4_diffusion.small_pipeline import Description
from theory.checks.diffusion_worlds import STD, gaussian_image, sampled, variance
from theory.checks.draws import normal
from theory.printed import printed
from theory.tags import verifies

# ---- why latents


def test_numbers_places_and_pairs_of_a_latent():
    pixels, latent = 3 * 512 * 512, 4 * 64 * 64
    assert (pixels, latent, pixels // latent) == (786_432, 16_384, 48)
    assert [(512 // 64) ** power for power in (2, 4)] == [64, 4096]


@verifies("diffusion.6")
def test_halving_an_error_costs_one_bit_whatever_it_shows():
    std, bits = 0.5, []
    for ratio in (60.0, 252.0):  # 1 + std^2 SNR = 16 and 64
        snr = torch.linspace(0, ratio, 20_001, dtype=torch.float64)
        alpha, sigma = (snr / (1 + snr)).sqrt(), (1 / (1 + snr)).sqrt()
        gain = gaussian_image(torch.ones_like(snr), alpha, sigma, std)  # E [x_0 | x_t] = gain x_t
        error = (1 - gain * alpha) ** 2 * std**2 + gain**2 * sigma**2
        torch.testing.assert_close(error, std**2 / (1 + std**2 * snr))
        guess = (0.5 * (error[1:] + error[:-1])).sqrt().view(-1, 1, 1, 1)
        steps = diffusion.denoising_kl(torch.zeros_like(guess), guess, snr[1:], snr[:-1])
        bits.append(steps.sum().item() / math.log(2))
        assert bits[-1] == pytest.approx(0.5 * math.log2(std**2 / error[-1].item()), abs=1e-4)
    assert bits == pytest.approx([2, 3], abs=1e-4)
    assert pytest.approx(3.75) == 1.78 + 1.97  # of CIFAR-10, Ho et al. 2020


# ---- conditions


def test_a_condition_pulls_too_hard_if_the_guess_is_taken_for_the_image():
    """c = x_0 + rho eta in the Gaussian world: scores by automatic differentiation."""
    alpha, sigma, std, rho, c = 0.6, 0.8, STD, 0.5, torch.tensor(0.7).double()
    x = torch.linspace(-2, 2, 5, dtype=torch.float64).requires_grad_()
    spread = variance(alpha, sigma)
    covariance = torch.tensor([[spread, alpha * std**2], [alpha * std**2, std**2 + rho**2]]).double()
    joint = MultivariateNormal(torch.zeros(2).double(), covariance)  # of x_t and c
    slope = lambda value: torch.autograd.grad(value.sum(), x, retain_graph=True)[0]
    together = slope(joint.log_prob(torch.stack([x, c.expand(5)], 1)))  # ln q_t(x_t | c) + ln q(c)
    alone = slope(Normal(0.0, spread**0.5).log_prob(x))
    left = std**2 * sigma**2 / spread  # Var(x_0 | x_t)
    guess = gaussian_image(x, alpha, sigma)
    right = slope(Normal(guess, math.sqrt(rho**2 + left)).log_prob(c))
    torch.testing.assert_close(together, alone + right)
    sure = slope(Normal(guess, rho).log_prob(c))
    torch.testing.assert_close(sure, (1 + left / rho**2) * right)
    assert round(1 + left / rho**2, 2) == 1.88


# ---- cross-attention


@verifies("latent_diffusion.4")
def test_places_of_the_image_look_at_words():
    printed(r"""
        A = \mathrm{softmax} \Bigl( \frac{Q K^\top}{\sqrt{d}} \Bigr) V ,
        \qquad
        Q = h W_Q ,
        \qquad
        K = \tau(c) \, W_K ,
        \qquad
        V = \tau(c) \, W_V
        \tag{latent_diffusion.4}
    """)
    torch.manual_seed(0)
    unet = small_pipeline.build_unet(Description()).double()
    layer = next(module for name, module in unet.named_modules() if name.endswith("attn2"))
    h, words = normal(2, 9, layer.to_q.in_features), normal(2, 5, Description().text_width, seed=1)
    heads = lambda rows: rows.unflatten(2, (layer.heads, -1)).transpose(1, 2)  # (B, heads, rows, d)
    query, key, value = heads(layer.to_q(h)), heads(layer.to_k(words)), heads(layer.to_v(words))
    table = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1)
    torch.testing.assert_close(table.sum(-1), torch.ones(2, layer.heads, 9, dtype=torch.float64))
    seen = layer.to_out[0]((table @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(h, encoder_hidden_states=words), seen)
    shuffled = words[:, [3, 0, 4, 1, 2]]
    torch.testing.assert_close(layer(h, encoder_hidden_states=shuffled), seen)  # words have no order here
    assert round(2 * 4096**2 * 320 / (2 * 4096 * 77 * 320)) == 53


# ---- the text encoder


def test_the_best_score_of_contrastive_learning_is_the_ratio_of_densities():
    """Images and captions of two Gaussian numbers with correlation c: the loss cannot be lowered by scaling
    ln q(x, c) / (q(x) q(c)), and other scores are worse."""
    correlation, batch = 0.8, 64
    image = normal(200, batch)
    caption = correlation * image + 0.6 * normal(200, batch, seed=1)
    joint = lambda x, c: (
        -(x**2 + c**2 - 2 * correlation * x * c) / (2 * 0.36) - 0.5 * math.log(0.36) + (x**2 + c**2) / 2
    )

    def loss(score: Tensor) -> float:  # (batches, N, N) -> as the page has it
        found = torch.diagonal(score, dim1=1, dim2=2)
        rows = found - score.logsumexp(2)
        columns = found - score.logsumexp(1)
        return -0.5 * (rows + columns).mean().item()

    best = joint(image[:, :, None], caption[:, None, :])
    numbers = torch.arange(batch).expand(200, batch)
    torch.testing.assert_close(  # the same as torch's cross-entropy in both directions
        torch.tensor(loss(best)),
        sum(F.cross_entropy(table, numbers) for table in (best, best.mT)) / 2,
        check_dtype=False,
    )
    other = [0.9 * best, 1.1 * best, best + 0.3 * image[:, :, None] * caption[:, None, :] ** 2]
    assert all(loss(score) > loss(best) for score in other)
    assert loss(best + 5) == pytest.approx(loss(best))
    assert math.log(batch) - loss(best) < -0.5 * math.log(1 - correlation**2)  # no more than the information


@verifies("latent_diffusion.5")
def test_a_word_sees_only_what_stands_before_it():
    printed(r"""
        A = \mathrm{softmax} \Bigl( \frac{Q K^\top}{\sqrt{d}} + M \Bigr) V ,
        \qquad
        M_{ij} = \begin{cases} 0 & j \le i \\ - \infty & j \gt i \end{cases}
        \tag{latent_diffusion.5}
    """)
    torch.manual_seed(0)
    known = Description()
    tokenizer = small_pipeline.build_tokenizer(known)
    encoder = small_pipeline.build_text_encoder(known, tokenizer).double().eval()
    attention = next(module for name, module in encoder.named_modules() if name.endswith("self_attn"))
    kept = {}
    hook = attention.register_forward_hook(
        lambda _, given, named, out: kept.update(rows=(*given, *named.values())[0], out=out[0]),
        with_kwargs=True,
    )
    length = known.prompt_tokens
    read = lambda prompt: (
        tokenizer(
            prompt, padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
    )
    prompt, changed = (read(f"a portrait of a person with {hair} hair") for hair in ("red", "black"))
    with torch.no_grad():
        vectors = encoder(prompt)[0]
        hook.remove()
        others = encoder(changed)[0]
        empty = encoder(read(""))[0]
    (place,) = (prompt != changed)[0].nonzero()[0].tolist()
    moved = (vectors - others).abs().amax(2)[0] > 1e-9
    assert not moved[:place].any() and moved[place:].all()  # the filling sees the whole prompt
    torch.testing.assert_close(vectors[:, 0], empty[:, 0])  # the first vector is that of every prompt
    assert (empty[0, 1:] - empty[0, :1]).abs().amax(1).min() > 1e-6
    heads = lambda rows: rows.unflatten(2, (known.heads, -1)).transpose(1, 2)
    query, key, value = (
        heads(project(kept["rows"])) for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    mask = torch.full((length, length), -math.inf, dtype=torch.float64).triu(1)
    table = (query @ key.mT / math.sqrt(query.shape[-1]) + mask).softmax(-1)
    seen = attention.out_proj((table @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(kept["out"], seen)


# ---- guidance


@verifies("latent_diffusion.6")
def test_a_negative_prompt_acts_by_its_ratio_to_the_prompt():
    (power,) = printed(r"""
        \hat\varepsilon_w = \hat\varepsilon_{-} + w \, (\hat\varepsilon_{+} - \hat\varepsilon_{-}) ,
        \qquad
        q_t(z \mid c_+)^w \, q_t(z \mid c_-)^{1 - w} \propto q_t(z) \, q_t(c_+ \mid z) \,
        \Bigl( \frac{q_t(c_+ \mid z)}{q_t(c_- \mid z)} \Bigr)^{«power»}
        \tag{latent_diffusion.6}
    """)
    shares = torch.rand(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    joint = shares / shares.sum()  # q(z, c): two prompts and a third caption, six latents
    of_z, of_c = joint.sum(0), joint.sum(1)
    z_given, c_given = joint / of_c[:, None], joint / of_z
    for weight in (0.0, 1.0, 3.5):
        product = z_given[0] ** weight * z_given[1] ** (1 - weight)
        ratio = of_z * c_given[0] * (c_given[0] / c_given[1]) ** power(w=weight)
        torch.testing.assert_close(product / product.sum(), ratio / ratio.sum())
    of = lambda mean: lambda x, alpha, sigma: mean + gaussian_image(x - alpha * mean, alpha, sigma)
    ends = sampled(3.0, of(1.0), of(-0.5), torch.tensor([0.0, 1.0]).double())
    assert ends[0].item() == pytest.approx(1 + 2 * 1.5, abs=0.02)
    assert (ends[1] - ends[0]).item() == pytest.approx(0.5, abs=0.01)


@verifies("latent_diffusion.6")
def test_the_pipeline_is_told_what_not_to_draw():
    pipeline = random_pipeline()
    told, steps = [], []
    pipeline.unet.register_forward_hook(lambda _, given, out: told.append(out[0]))
    step = pipeline.scheduler.step
    pipeline.scheduler.step = lambda output, *rest, **named: (
        steps.append(output) or step(output, *rest, **named)
    )
    sketch = {"resolution": 64, "steps": 2}
    draw = lambda guidance, negative: drawing.draw(
        pipeline, ["a portrait of a person"], [0], guidance=guidance, negative_prompt=negative, **sketch
    )
    draw(3.0, "red hair")
    for both, output in zip(told, steps, strict=True):
        negative, positive = both.chunk(2)
        torch.testing.assert_close(output, diffusion.guided(positive, negative, 3.0))
    assert not torch.equal(draw(3.0, "red hair"), draw(3.0, None))
    assert torch.equal(draw(1.0, "red hair"), draw(1.0, None))


def random_pipeline():
    """The small model's parts with random weights."""
    torch.manual_seed(0)
    known = Description()
    tokenizer = small_pipeline.build_tokenizer(known)
    return small_pipeline.assemble(
        small_pipeline.build_autoencoder(known), small_pipeline.build_text_encoder(known, tokenizer),
        tokenizer, small_pipeline.build_unet(known), small_pipeline.build_scheduler(),
    )  # fmt: skip
