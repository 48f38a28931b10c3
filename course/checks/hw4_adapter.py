"""Which of your functions the checks of homework 4 ask.

If yours have other names, copy this file as check_hw4.py to the top of your repository, keep the functions
that differ, and change what they return.  Numbers are torch tensors unless it is said otherwise.
"""


def linear_encoder(mean, components, variance, shape):
    """(P,), (D, P), (D,), (C, H, W) -> an object with encode(uint8 images) and decode(latents)."""
    from hw4_diffusion.linear_encoder import LinearEncoder

    return LinearEncoder(mean, components, variance, shape)


def linear_features(x, captions, products):
    """(N, D), (N, E), whether there are products -> (N, F)."""
    from hw4_diffusion.linear_denoiser import features

    return features(x, captions, products)


def normal_equations(latents, captions, products, alpha, sigma):
    """(N, D), (N, E), whether there are products, two numbers -> (F, F), (F, D)."""
    from hw4_diffusion.linear_denoiser import Moments

    return Moments(latents, captions, products).normal_equations(alpha, sigma)


def ridge(left, right, penalty):
    """(F, F), (F, D), a number -> (F, D)."""
    from hw4_diffusion.linear_denoiser import ridge

    return ridge(left, right, penalty)


def betas(name, steps):
    """linear or cosine, T -> (T,)."""
    from hw4_diffusion import schedule

    return getattr(schedule, f"{name}_betas")(steps)


def noised(x0, eps, alpha, sigma):
    """Images and noise (B, C, H, W), alpha and sigma (B, 1, 1, 1) -> x_t."""
    from hw4_diffusion.diffusion import noised

    return noised(x0, eps, alpha, sigma)


def posterior(x_t, x0, alpha_t, sigma_t, alpha_s, sigma_s):
    """Images twice, four numbers, s < t -> mean and variance of q(x_s | x_t, x_0)."""
    from hw4_diffusion.diffusion import posterior

    return posterior(x_t, x0, alpha_t, sigma_t, alpha_s, sigma_s)


def target(prediction, x0, eps, alpha, sigma):
    """epsilon, x0, v or flow; images, noise, (B, 1, 1, 1) twice -> what the network should say."""
    from hw4_diffusion.diffusion import target

    return target(prediction, x0, eps, alpha, sigma)


def image_and_noise(prediction, output, x_t, alpha, sigma):
    """epsilon, x0, v or flow; what the network says, x_t, (B, 1, 1, 1) twice -> x_0 and eps."""
    from hw4_diffusion.diffusion import image_and_noise

    return image_and_noise(prediction, output, x_t, alpha, sigma)


def simple_loss(output, wanted):
    """(B, C, H, W) twice -> (B,)."""
    from hw4_diffusion.diffusion import squared_error

    return squared_error(output, wanted)


def forget_classes(labels, chance, share, classes):
    """Classes int64 (B,), numbers of [0, 1) (B,), a share, K -> int64 (B,), K where the class is not told."""
    from hw4_diffusion.diffusion import without_class

    return without_class(labels, chance, share, classes)


def guided(with_class, without, scale):
    """Outputs (B, C, H, W) twice, a number -> the guided output; scale 1 leaves the first."""
    from hw4_diffusion.diffusion import guided

    return guided(with_class, without, scale)


def lora_layer(frozen, rank, alpha):
    """An nn.Linear (in -> out), r, alpha -> a module with down (r, in), up (out, r) and merged()."""
    from hw4_diffusion.lora import LoRALinear

    return LoRALinear(frozen, rank, alpha)


def insert_lora(network, rank, alpha):
    """Puts such layers in the place of to_q, to_k, to_v and to_out.0, freezes the rest -> {name: layer}."""
    from hw4_diffusion.lora import insert

    return insert(network, rank, alpha)


def sample(name, denoise, alpha, sigma, times, x, eta, randn):
    """ancestral, ddim or dpm-solver++; denoise(x_t, t) -> x_0, eps; alpha and sigma (T + 1,), times from T
    down to 0, x_T, DDIM's eta, randn(images) -> noise.  Gives the images after every step, a list."""
    from hw4_diffusion import samplers
    from hw4_diffusion.schedule import Schedule

    steps = samplers.sample(name, denoise, Schedule(alpha, sigma), times, x, eta=eta, randn=randn)
    return [image for _, image in steps]


def ddpm_step(network, optimizer, prediction, x0, eps, t, alpha, sigma, steps):
    """One update of network(x_t, t / T), whose optimiser is SGD: epsilon, x0, v or flow; images and noise
    (B, C, H, W); times int64 (B,); alpha and sigma (B, 1, 1, 1); T."""
    from common import devices

    import torch

    from hw4_diffusion.train_ddpm import Config, update

    config = Config(prediction=prediction, timesteps=steps)
    update(config, devices.Device(torch.device("cpu")), network, optimizer, x0, eps, t, alpha, sigma)


def both_halves(x0, ids, x0_of_class, of_class):
    """Images of the subject (B, 3, S, S) and its prompt for each (B, L), images of the class (B, 3, S, S),
    its prompt (L,) -> images (2 B, 3, S, S) and prompts (2 B, L), the subject's first."""
    from hw4_diffusion.dreambooth import both_halves

    return both_halves(x0, ids, x0_of_class, of_class)


def dreambooth_loss(errors, prior_weight):
    """Errors (2 B,), the subject's first, and a weight -> a number; (B,) and None without the class."""
    from hw4_diffusion.dreambooth import dreambooth_loss

    return dreambooth_loss(errors, prior_weight)


def latents_of(autoencoder, images, noise):
    """diffusers' AutoencoderKL, images (B, 3, S, S), an object whose normal(C, H, W) draws N(0, 1) of
    (B, C, H, W) -> the latents that the U-Net learns from."""
    from hw4_diffusion.latents import latents_of

    return latents_of(autoencoder, images, noise)


def lora_parameters(layers):
    """{name: layer} as insert_lora gives them -> how many numbers are trained."""
    from hw4_diffusion.lora import parameters

    return parameters(layers)


def prompts_with_seeds(texts, first, count):
    """Prompts, the first seed, seeds a prompt -> the prompt and the seed of every image, two lists."""
    from hw4_diffusion.compare import prompts_with_seeds

    return prompts_with_seeds(texts, first, count)


def obeyed(found, prompts):
    """{attribute: options int64 (N,)} that N images show, and their N prompts -> a share."""
    from hw4_diffusion.prompt_measures import obeyed

    return obeyed(found, prompts)


def drift(before, after):
    """{attribute: options int64 (N,)} of the class's images, before and after -> a distance in [0, 1]."""
    from hw4_diffusion.prompt_measures import drift

    return drift(before, after)


def controlled(unet, controlnet):
    """A U-Net and a ControlNet as in diffusers -> a module; z_t, t, words, condition -> what it predicts."""
    from hw4_diffusion.train_controlnet import ControlledUNet

    return ControlledUNet(unet, controlnet)


def rows_of_prompts(index, chance, share_empty):
    """Pictures int64 (B,), numbers of [0, 1) (B,), a share -> rows of the prompts int64 (B,): i + 1 is that
    of picture i, 0 the empty one."""
    from hw4_diffusion.train_controlnet import rows_of_prompts

    return rows_of_prompts(index, chance, share_empty)


def edges_agree(found, wanted):
    """uint8 (N, 3, H, W) twice, edges 255 on 0 -> F1 (N,), one pixel of tolerance."""
    from hw4_diffusion.edges import agreement

    return agreement(found, wanted)
