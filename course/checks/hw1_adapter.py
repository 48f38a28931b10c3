"""Which of your functions the checks of homework 1 ask.

If yours have other names, copy this file as check_hw1.py to the top of your repository, keep the functions
that differ, and change what they return.  Numbers are torch tensors unless it is said otherwise.
"""


def maximum_likelihood(counts):
    """List of counts -> a probability for each option."""
    from hw1_bayes_and_autoencoders.bayes_styles import maximum_likelihood

    return maximum_likelihood(counts)


def additive_smoothing(counts, alpha):
    """List of counts, pseudo-count -> a probability for each option."""
    from hw1_bayes_and_autoencoders.bayes_styles import additive_smoothing

    return additive_smoothing(counts, alpha)


def style_model(theta):
    """A list of Fractions for each attribute -> an object with sample, probability, log_probability."""
    from hw1_bayes_and_autoencoders.bayes_styles import StyleModel
    from hw1_bayes_and_autoencoders.style_counts import Attribute

    names = [f"attribute {place}" for place in range(len(theta))]
    attributes = [
        Attribute(name, tuple(f"option {j}" for j in range(len(row))), (1,) * len(row), ("",) * len(row))
        for name, row in zip(names, theta)
    ]
    return StyleModel(tuple(attributes), tuple(map(tuple, theta)))


def bits_per_pixel(log2_probability):
    """(N, H, W) -> (N,)."""
    from hw1_bayes_and_autoencoders.pixel_models import bits_per_pixel

    return bits_per_pixel(log2_probability)


def pixel_tables(images, joint, alpha):
    """Training images uint8 (N, C, H, W), whether a feature is a colour, pseudo-count -> an object with
    log2_probability(images) -> (M, H, W) and sample(count, generator) -> uint8 (count, C, H, W)."""
    from hw1_bayes_and_autoencoders.pixel_models import PixelTables

    return PixelTables(images, joint, alpha)


def squared_error(images, reconstructions):
    """(B, C, H, W) in [-1, 1] twice -> (B, H, W), in squared grey levels of [0, 1]."""
    from hw1_bayes_and_autoencoders.autoencoders import squared_error

    return squared_error(images, reconstructions)


def autoencoder(encoder, decoder):
    """Two modules -> a module; model(images, corrupted) gives a dictionary of losses, (B,) each."""
    from hw1_bayes_and_autoencoders.autoencoders import Autoencoder

    return Autoencoder(encoder, decoder)


def dense_halves(widths, shape):
    """Widths from the pixels to the latent, (C, H, W) -> encoder and decoder of linear layers."""
    from hw1_bayes_and_autoencoders.autoencoders import _dense

    return _dense(widths, shape)


def anomaly_score(name, residual, usual, patch):
    """mse, weighted, patch or bright; residuals (N, C, H, W), usual squared error (H, W) -> (N,)."""
    from hw1_bayes_and_autoencoders.anomaly_scores import score

    return score(name, residual, usual, patch)


def rates(normal, anomalous, threshold):
    """Scores (N0,), (N1,), a number -> true-positive rate, true-negative rate, precision."""
    from common.metrics.detection import rates

    return rates(normal, anomalous, threshold)


def threshold_fraction_of_max(anomalous, fraction):
    """Scores of known spills (N,), a number -> the threshold."""
    from common.metrics.detection import threshold_fraction_of_max

    return threshold_fraction_of_max(anomalous, fraction)


def reparameterise(mu, log_variance, noise):
    """(B, D) three times -> (B, D)."""
    from common.latent_space import reparameterise

    return reparameterise(mu, log_variance, noise)


def kl_to_standard_normal(mu, log_variance):
    """(B, D) twice -> (B, D), in nats."""
    from common.latent_space import kl_to_standard_normal

    return kl_to_standard_normal(mu, log_variance)


def bernoulli_log_likelihood(pixels, logits):
    """(B, C, H, W) twice, pixels in [0, 1] -> (B,), in nats."""
    from hw1_bayes_and_autoencoders.vae import bernoulli_log_likelihood

    return bernoulli_log_likelihood(pixels, logits)


def gaussian_log_likelihood(pixels, mean, variance):
    """(B, C, H, W) twice, a number -> (B,), in nats."""
    from hw1_bayes_and_autoencoders.vae import gaussian_log_likelihood

    return gaussian_log_likelihood(pixels, mean, variance)


def vae_objective(reconstruction, kl, beta):
    """(B,), (B, D), a number -> the one number that is minimised."""
    from hw1_bayes_and_autoencoders.vae import objective

    return objective({"reconstruction": reconstruction, "kl": kl}, beta)


def vae(shape, latent, classes):
    """(C, H, W), D, K (0: without classes) -> a module with encode, decode, condition; model(images, labels)
    gives {"reconstruction": (B,), "kl": (B, D)}."""
    from hw1_bayes_and_autoencoders.vae import build

    return build("mlp", shape, latent, classes=classes)
