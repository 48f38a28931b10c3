"""The scripts of the weeks as data: what `python3 -m course run` starts, in this order."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Script:
    """One way of starting one homework script."""

    name: str
    """Unique; its log is called the same, and `{name}` in later arguments stands for its run directory."""
    file: str
    """The script, relative to the repository; the part before the first underscore is its week."""
    what: str
    """What a student sees by running it, in a few words."""
    data: str
    """The set it works on, for the table."""
    short: str
    """Arguments for minutes on two CPU cores."""
    full: str
    """Arguments for the numbers in the README."""
    shows: tuple[str, ...]
    """Numbers of its summary.json that the table shows; a run that does not measure them has failed."""

    @property
    def week(self) -> str:
        return self.file.split("_", 1)[0]

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the scripts whose run directories its arguments mention."""
        return tuple(dict.fromkeys(re.findall(r"\{(\w+)\}", self.short + self.full)))


HW1 = "hw1_bayes_and_autoencoders"

SCRIPTS = (
    Script(
        name="bayes_styles",
        file=f"{HW1}/bayes_styles.py",
        what="styles and their exact probabilities from 50 people's counts, by MLE and with smoothing",
        data="style counts",
        short="",
        full="",
        shows=(),
    ),
    Script(
        name="bayes_pixels",
        file=f"{HW1}/bayes_pixels.py",
        what="portraits pixel by pixel: independence blurs, dependence on the neighbours mends it",
        data="avatars",
        short="",
        full="",
        shows=(),
    ),
    Script(
        name="train_autoencoder_linear2",
        file=f"{HW1}/train_autoencoder.py",
        what="the class-room detector of metal spills: two linear layers, threshold 0.56 of the maximum",
        data="wells",
        short="--data wells --arch linear2 --epochs 3",
        full="--data wells --arch linear2",
        shows=(),
    ),
    Script(
        name="train_autoencoder_conv",
        file=f"{HW1}/train_autoencoder.py",
        what="the same with a convolutional autoencoder",
        data="wells",
        short="--data wells --arch conv --epochs 3",
        full="--data wells --arch conv",
        shows=(),
    ),
    Script(
        name="eval_autoencoder",
        file=f"{HW1}/eval_autoencoder.py",
        what="thresholds chosen without the test set, ROC curve, worst mistakes",
        data="wells",
        short="{train_autoencoder_conv}",
        full="{train_autoencoder_conv}",
        shows=(),
    ),
)
