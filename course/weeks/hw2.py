"""What `python3 -m course run` starts of week 2: small GANs, one training, the study of hypotheses."""

from course.weeks.script import Script

FOLDER = "hw2_gan"

SCRIPTS = (
    Script(
        name="dirac_gan",
        file=f"{FOLDER}/dirac_gan.py",
        what="the smallest GAN: which games go round in circles, and what makes them settle",
        data="one number",
        short="",
        full="",
        shows=(),
    ),
    Script(
        name="transposed_convolution",
        file=f"{FOLDER}/transposed_convolution.py",
        what="a transposed convolution is the transposed matrix; where checkerboards come from",
        data="matrices",
        short="",
        full="",
        shows=(),
    ),
    Script(
        name="train_gan",
        file=f"{FOLDER}/train_gan.py",
        what="a GAN with losses, gradients, Fréchet distance, styles covered, and an alarm for collapse",
        data="avatars",
        short="--hypothesis 7 --epochs 1 --width 0.125 --precision bf16 --measure-images 500",
        full="--hypothesis 7 --epochs 6 --measure-images 1000",
        shows=("val/ema_coverage", "val/ema_diversity"),
        keeps_figures=(),
    ),
    Script(
        name="eval_gan",
        file=f"{FOLDER}/eval_gan.py",
        what="samples, distances with their spread, nearest training images, a walk, D's opinions",
        data="avatars",
        short="{train_gan} --samples 1000",
        full="{train_gan}",
        shows=("eval/precision", "eval/recall", "eval/nearest_training_ratio"),
        keeps_figures=("samples.png", "neighbours.png"),
    ),
    *(
        Script(
            name=name,
            file=f"{FOLDER}/compare_hypotheses.py",
            what=f"{what} at one budget, three seeds",
            data="avatars",
            short=None,
            full=f"--hypotheses {hypotheses} --budget 0.4 --measure-images 1000",
            shows=(),
            keeps_figures=figures,
        )
        for name, what, hypotheses, figures in (
            ("study", "hypotheses of convergence", "base 0 1 2 3 4 5 6", ("curves.png", "samples.png")),
            ("study_7", "the hypothesis that needs labels", "7 --precision fp32", ("curves.png",)),
            ("study_8", "the hypothesis without a grid", "8 --precision fp32", ("curves.png", "samples.png")),
        )
    ),
    *(
        Script(
            name=name,
            file=f"{FOLDER}/compare_hypotheses.py",
            what=f"what made StyleGAN2 clean: {what}, one seed",
            data="avatars",
            short=None,
            full=f"--hypotheses {hypotheses} --seeds 0 --precision fp32 {more}",
            shows=(),
            keeps_figures=("samples.png",),
        )
        for name, what, hypotheses, more in (
            (
                "parts",
                "its parts together",
                "7 8 8a 8b 8c 8d 8e",
                "--budget 0.13 --measure-images 500 --samples 2000",
            ),
            ("study_8c", "one of these, trained longer", "8c", "--budget 0.4 --measure-images 1000"),
        )
    ),
)
