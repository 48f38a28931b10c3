"""Which of your functions the checks of homework 3 ask.

If yours have other names, copy this file as check_hw3.py to the top of your repository, keep the functions
that differ, and change what they return.  Numbers are torch tensors unless it is said otherwise.
"""


def modulated_convolution(x, weight, style, up):
    """(B, I, H, W), (O, I, k, k), (B, I), whether the sides are doubled -> (B, O, H, W) or (B, O, 2 H, 2 W);
    not demodulated."""
    from common.modulation import modulated_convolution

    return modulated_convolution(x, weight, style, up=up)


def demodulation(weight, style):
    """(O, I, k, k), (B, I) -> (B, O): what each output is multiplied with."""
    from common.modulation import demodulation

    return demodulation(weight, style)


def truncate(ws, w_mean, psi, cutoff):
    """(B, L, D), (D,), a number, a number of layers or None -> (B, L, D)."""
    from hw3_stylegan_sampling.networks import Architecture, Generator

    shape = Architecture(size=8, channels=(4, 4), z_dim=3, w_dim=len(w_mean), mapping_layers=1)
    generator = Generator(shape).to(ws.dtype)
    generator.w_mean.copy_(w_mean)
    return generator.truncate(ws, psi, cutoff)


def mix(own, other, layers):
    """(L, D) twice, a list of layers -> (L, D): the first, but for these layers of the second."""
    from hw3_stylegan_sampling.style_mixing import mix

    return mix(own, other, layers)


def towards_nearest(w, centres, psi):
    """(N, D), (K, D), a number -> (N, D)."""
    from hw3_stylegan_sampling.ways import towards_nearest

    return towards_nearest(w, centres, psi)


def two_latents(generator, z, other, cut):
    """A generator with layers, styles(z) -> (B, L, D) and synthesis(ws, noise_mode); (B, D) twice, (B,) ->
    images whose layers before `cut` come from the first latent, the others from the second."""
    from hw3_stylegan_sampling.train_stylegan import MixingGenerator

    return MixingGenerator(generator)(z, other, cut)


def r1_of_step(discriminator, real, step, gamma, every):
    """A function images -> logits; R1 as the loss of this step contains it: a number."""
    from hw3_stylegan_sampling.train_stylegan import Config, r1_penalty

    return r1_penalty(Config(r1_gamma=gamma, r1_every=every), discriminator, real, step)


def path_lengths(generator, ws):
    """A generator with synthesis(ws, noise_mode); (B, L, D) -> (B,)."""
    from hw3_stylegan_sampling.train_stylegan import path_lengths

    return path_lengths(generator, ws)


def path_penalty():
    """A module; called with a generator, which has styles(z) too, and z (B, D) it gives (B,), and remembers
    the mean length in `mean`, of which it forgets 1 % at each call."""
    from common import devices

    import torch

    from hw3_stylegan_sampling.train_stylegan import PathLengths

    return PathLengths(devices.Device(torch.device("cpu")))


def pixel_distance(targets, images):
    """(B, 3, S, S) in [-1, 1] twice -> (B,): mean absolute error in units of [0, 1]."""
    from hw3_stylegan_sampling.projection import pixel_distance

    return pixel_distance(targets, images)


def correlation(noise):
    """(B, 1, S, S) -> a number: what neighbours have in common, at every size down to 8."""
    from hw3_stylegan_sampling.projection import correlation

    return correlation(noise)


def moved(ws, direction, strength, layers):
    """(B, L, D), (D,), a number, a list of layers -> (B, L, D): the direction added in these layers."""
    from hw3_stylegan_sampling.edits import moved

    return moved(ws, direction, strength, layers)


def towards(ws, others, strength, layers):
    """(B, L, D) twice, a number, a list of layers -> (B, L, D): these layers moved towards the others."""
    from hw3_stylegan_sampling.edits import towards

    return towards(ws, others, strength, layers)


def projection(generator_size, noise, targets_of, space, steps):
    """Projects two images; targets_of(generator) gives them, (2, 3, S, S).  -> distances (steps + 1, 2), the
    last ws (2, L, D), the generator's weights before and after as one vector each."""
    import torch

    from hw3_stylegan_sampling.networks import Architecture, Generator
    from hw3_stylegan_sampling.projection import Recipe, project

    shape = Architecture(
        size=generator_size, channels=(8, 8), z_dim=4, w_dim=6, mapping_layers=1, noise=noise
    )
    generator = Generator(shape)
    weights = lambda: torch.cat([p.detach().flatten() for p in generator.parameters()])
    before, targets = weights(), targets_of(generator)
    distance = lambda wanted, images: (wanted - images).square().mean((1, 2, 3))
    found = list(project(generator, targets, distance, Recipe(space=space, steps=steps, wander=0.0)))
    return torch.stack([step.distances for step in found]), found[-1].ws, before, weights()
