"""A variational autoencoder on one page.  Theory: theory/en/vae.md.

The encoder looks at an image and names a Gaussian in a space of few dimensions: where the image may lie.  The
decoder draws an image of a point.  Both learn together to give the image back, while the Gaussians are held
near N(0, I).  So afterwards a new image is drawn by decoding a point of N(0, I).
"""

from __future__ import annotations

from common import data
from common.latent_space import kl_to_standard_normal, reparameterise

import torch
from matplotlib import pyplot
from torch import Tensor, nn

from hw1_bayes_and_autoencoders.vae import bernoulli_log_likelihood, elbo

DATA = "digits"  # or mnist
STEPS = 2000
BATCH = 128
LATENT = 20
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class VAE(nn.Module):
    """Encoder and decoder have one hidden layer each.

    The forward pass gives the logits of the pixels, and mean and log-variance of the Gaussian."""

    def __init__(self, pixels: int, hidden: int = 400):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * LATENT))
        self.decoder = nn.Sequential(nn.Linear(LATENT, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # (B, P) -> (B, P), (B, D), (B, D)
        mu, log_variance = self.encoder(x).chunk(2, 1)
        z = reparameterise(mu, log_variance)  # (B, D)
        return self.decoder(z), mu, log_variance


def train(images: Tensor) -> tuple[VAE, list[float]]:  # (N, C, S, S) in [0, 1]
    """The loss is minus the ELBO: nats for the pixels, and nats for naming the Gaussian."""
    torch.manual_seed(0)
    pixels = images.flatten(1).to(DEVICE)  # (N, P)
    model = VAE(pixels.shape[1]).to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(STEPS):
        x = pixels[torch.randint(len(pixels), (BATCH,))]  # (B, P)
        logits, mu, log_variance = model(x)
        bound = elbo(bernoulli_log_likelihood(x, logits), kl_to_standard_normal(mu, log_variance))  # (B,)
        loss = -bound.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


def show(images: Tensor, title: str) -> None:  # (N, C, S, S) in [0, 1]
    """Eight in a row."""
    rows = images.cpu().reshape(-1, 8, *images.shape[1:])  # (R, 8, C, S, S)
    pyplot.figure(figsize=(8, len(rows)))
    pyplot.imshow(rows.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).expand(-1, -1, 3))
    pyplot.title(title)
    pyplot.axis("off")
    pyplot.show()


if __name__ == "__main__":
    images = data.load(DATA).images / 255  # (N, C, S, S)
    model, losses = train(images)
    pyplot.plot(losses)
    pyplot.xlabel("step")
    pyplot.ylabel("-ELBO, nats per image")
    pyplot.show()
    with torch.no_grad():
        drawn = model.decoder(torch.randn(32, LATENT, device=DEVICE)).sigmoid()
    show(drawn.unflatten(1, images.shape[1:]), "Drawn: decoded points of N(0, I)")
