"""Which of your functions the checks of lab 8 ask.

If yours have other names, copy this file as check_lab8.py to the top of your repository, keep the functions
that differ, and change what they return.  Numbers are torch tensors unless it is said otherwise.
"""


def way_down(size, width, outputs, normalised):
    """Side 48 or 64, channels, O, with batch normalisation or not -> a module (B, 3, S, S) -> (B, O)."""
    from lab8_generative.networks import way_down

    return way_down(size, width, outputs, normalised=normalised)


def way_up(size, width, latent):
    """Side 48 or 64, channels, D -> a module (B, D) -> (B, 3, S, S) in [-1, 1]."""
    from lab8_generative.networks import way_up

    return way_up(size, width, latent)


def doubling(inputs, outputs, upsampling):
    """Channels in and out, transposed or nearest -> a module (B, I, H, W) -> (B, O, 2 H, 2 W)."""
    from lab8_generative.networks import doubling

    return doubling(inputs, outputs, upsampling)


def autoencoder(size, width, latent):
    """A module; model(images) gives reconstructions and a KL of 0 (B,); it has encode(images) -> (B, D)."""
    from lab8_generative.networks import Autoencoder

    return Autoencoder(size, width, latent)


def losses(model, size, beta, errors, kl):
    """ae or vae, side, beta, (B,) twice -> what is minimised (B,); errors are mean squared ones."""
    from lab8_generative.train_autoencoder import Config, losses_of

    return losses_of(Config(model=model, size=size, beta=beta, loss="mse"), errors, kl)


def one_step(generator, discriminator, for_generator, for_discriminator, real, z, gamma, every):
    """One update of each player on images (B, 3, S, S) and latents (B, D), without augmentation; the
    optimisers are SGD.  R1 has this gamma and is due now, every so many steps; gamma 0: without it."""
    from common import devices

    import torch

    from lab8_generative.train_gan import Config, Players, update

    config = Config(augment=(), r1_gamma=gamma, penalty_every=every, precision="fp32")
    players = Players(generator, discriminator, for_generator, for_discriminator)
    update(config, devices.Device(torch.device("cpu")), players, real, z, penalised=gamma > 0)


def slerp(start, end, share):
    """(B, D) twice, shares (B, 1) -> (B, D)."""
    from common.latent_space import slerp

    return slerp(start, end, share)


def walk(start, end, count, way):
    """(D,) twice, a number, linear or spherical -> (count, D)."""
    from lab8_generative.interpolate import walk

    return walk(start, end, count, way)


def there_and_back(positions):
    """(K, ...) -> (2 K - 2, ...)."""
    from lab8_generative.interpolate import there_and_back

    return there_and_back(positions)
