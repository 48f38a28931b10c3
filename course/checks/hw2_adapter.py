"""Which of your functions the checks of homework 2 ask.

If yours have other names, copy this file as check_hw2.py to the top of your repository, keep the functions
that differ, and change what they return.  Numbers are torch tensors unless it is said otherwise.
"""


def upsample(channels, kind):
    """transposed or nearest -> a module (B, C, H, W) -> (B, C, 2 H, 2 W)."""
    from hw2_gan.networks import upsample

    return upsample(channels, kind)


def cspup_block(channels):
    """An even number of channels -> a module (B, C, H, W) -> (B, C / 2, 2 H, 2 W)."""
    from hw2_gan.networks import CSPupBlock

    return CSPupBlock(channels)


def cspup_generator(size, width, latent, output):
    """Side 32, 64 or 128, factor of the 1024 channels, D, relu or tanh -> a module (B, D) -> (B, 3, S, S)."""
    from hw2_gan.networks import CSPupGenerator

    return CSPupGenerator(size, width, latent, output=output)


def discriminator_loss(kind, real, fake):
    """cross-entropy, least-squares, hinge or wasserstein; logits (B,) twice -> (B,)."""
    import common.adversarial as adversarial  # noqa: PLR0402  it may stand elsewhere

    name = {"cross-entropy": "cross_entropy"}.get(kind, kind.replace("-", "_"))
    return getattr(adversarial, f"{name}_discriminator")(real, fake)


def smoothed_discriminator_loss(real, fake, real_label, fake_label):
    """Logits (B,) twice, two numbers -> the cross-entropy (B,) with these labels."""
    from common.adversarial import cross_entropy_discriminator

    return cross_entropy_discriminator(real, fake, real_label, fake_label)


def generator_loss(kind, fake):
    """minimax, non-saturating, least-squares or linear; logits (B,) -> (B,)."""
    import common.adversarial as adversarial  # noqa: PLR0402  it may stand elsewhere

    return getattr(adversarial, f"{kind.replace('-', '_')}_generator")(fake)


def r1_penalty(discriminator, real):
    """A function images -> logits, images (B, C, H, W) -> (B,), without gamma / 2."""
    from common.adversarial import r1_penalty

    return r1_penalty(discriminator, real)


def gradient_penalty(discriminator, real, fake):
    """A function images -> logits, images (B, C, H, W) twice -> (B,), without its weight."""
    from common.adversarial import gradient_penalty

    return gradient_penalty(discriminator, real, fake)


def smoothed_labels(like, low, high):
    """Logits (B,), two numbers -> labels (B,) drawn between them."""
    from hw2_gan.train_gan import targets

    return targets(like, (low, high))


def instance_noise(images, strength, share_done):
    """Images (B, 3, S, S), strength at the beginning, share of the training that is done -> what D sees."""
    from hw2_gan.gan_flags import Config
    from hw2_gan.train_gan import augmented

    return augmented(Config(instance_noise=strength, augment=()), images, share_done)


def penalty_of_step(discriminator, real, fake, step, gamma, every, gradient_penalty=0.0):
    """R1, or with a weight of its own WGAN-GP's penalty, as the loss of this step contains it: a number."""
    from hw2_gan.gan_flags import Config
    from hw2_gan.train_gan import penalties

    judge = lambda images, labels: discriminator(images)
    config = Config(r1_gamma=gamma, gradient_penalty=gradient_penalty, penalty_every=every)
    return penalties(config, judge, real, fake, None, step)


def one_step(
    generator,
    discriminator,
    for_generator,
    for_discriminator,
    real,
    r1_gamma=0.0,
    gradient_penalty=0.0,
    instance_noise=0.0,
    augment=(),
):
    """One update of each player on a batch of real images (B, 3, 32, 32); the generator has `latent`, the
    length of z; the optimisers are SGD with the learning rates they should keep.  What is not 0 or empty is
    part of this step: R1 with this gamma, WGAN-GP's penalty with this weight, noise of this strength at the
    beginning, these augmentations (translation, cutout) of all that the discriminator sees."""
    from types import SimpleNamespace

    from common import averaged_weights, devices
    from common.noise import BatchNoise

    import torch

    from hw2_gan.gan_flags import Config
    from hw2_gan.players import Players
    from hw2_gan.train_gan import updates

    config = Config(
        size=32,
        batch_size=len(real),
        epochs=1,
        augment=augment,
        instance_noise=instance_noise,
        r1_gamma=r1_gamma,
        gradient_penalty=gradient_penalty,
        penalty_every=1,
        lr_generator=for_generator.param_groups[0]["lr"],
        lr_discriminator=for_discriminator.param_groups[0]["lr"],
    )
    batch = SimpleNamespace(images=real, index=torch.arange(len(real)))
    device = devices.Device(torch.device("cpu"))
    players = Players(
        generator, discriminator, averaged_weights.averaged(generator, 0.9), for_generator, for_discriminator
    )

    class Batches:
        image_set = None

        def forever(self):
            while True:
                yield batch

        def __len__(self):
            return 10

    list(updates(config, players, Batches(), BatchNoise(len(real), device, seed=0), device, [1]))
