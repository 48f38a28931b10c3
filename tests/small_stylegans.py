"""The smallest training of StyleGAN2."""

from pathlib import Path

from hw3_stylegan_sampling import train_stylegan


def config(data: Path | str, outdir: Path, **changes) -> train_stylegan.Config:
    """The smallest training, with every penalty in a few steps."""
    small = {
        "size": 8, "channels": (8, 6), "z_dim": 6, "w_dim": 7, "mapping_layers": 2, "steps": 6,
        "batch_size": 8, "r1_every": 2, "path_every": 3, "measure_every": 3, "measure_images": 8,
        "train_images": 48, "noise": True, "augment": ("color", "translation", "cutout"),
        "device": "cpu", "checkpoint_seconds": 1e9,
    }  # fmt: skip
    return train_stylegan.Config(data=str(data), outdir=outdir, **{**small, **changes})
