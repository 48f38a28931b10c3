"""What `python3 -m course run` starts of week 3: a StyleGAN2, its evaluation, ways of sampling it."""

from course.weeks.script import Script

FOLDER = "hw3_stylegan_sampling"

SCRIPTS = (
    Script(
        name="train_stylegan",
        file=f"{FOLDER}/train_stylegan.py",
        what="a StyleGAN2 with lazy penalties, path lengths, mixed styles and averaged weights",
        data="avatars",
        short="--steps 40 --measure-every 40 --measure-images 200 --train-images 2000 --cooldown 0",
        full="",
        shows=("val/ema_diversity",),
        keeps_figures=(),
    ),
    Script(
        name="eval_stylegan",
        file=f"{FOLDER}/eval_stylegan.py",
        what="distance, precision, recall and orders obeyed against psi; truncated, mixed and walked faces",
        data="avatars",
        short="{train_stylegan} --samples 100 --psis 0.5 1 --seeds 0",
        full="{train_stylegan} --samples 2000",
        shows=("eval/precision", "eval/recall", "eval/obeyed_all"),
        keeps_figures=("psi.png", "samples.png", "truncation.png", "mixing.png", "interpolation.gif"),
    ),
    Script(
        name="compare_sampling",
        file=f"{FOLDER}/compare_sampling.py",
        what="truncation in z and W, centres of W, rejection and Langevin sampling: cost and distance",
        data="avatars",
        short="{train_stylegan} --samples 40 --budget 9 --clusters 16 --seeds 0",
        full="{train_stylegan} --samples 500 --budget 21",
        shows=("eval/rejection_passes", "eval/Langevin_passes"),
    ),
    Script(
        name="train_encoder",
        file=f"{FOLDER}/train_encoder.py",
        what="an encoder of images into the styles of the generator",
        data="avatars",
        short="--network {train_stylegan} --steps 12 --batch-size 8 --measure-every 12 --measure-images 20 "
        "--train-images 2000",
        full="--network avatars --steps 2500 --batch-size 16 --measure-every 250",
        shows=("val/set_psnr_db", "val/generated_psnr_db"),
        keeps_figures=(),
    ),
    Script(
        name="project",
        file=f"{FOLDER}/project.py",
        what="unseen persons projected into W and W+, by an optimiser, an encoder, and both",
        data="avatars",
        short="--network {train_stylegan} --encoder {train_encoder} --people 2 --identity avatars --steps 30 "
        "--how w+ encoder",
        full="--network avatars --encoder avatars --people 50 --identity avatars "
        "--how w w+ encoder encoder+w+",
        shows=("wplus_psnr_db", "encoder_psnr_db"),
    ),
)
