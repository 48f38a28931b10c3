"""What `python3 -m course run` starts of week 3: a StyleGAN2, ways of sampling it, projections and edits."""

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
    Script(
        name="project_people",
        file=f"{FOLDER}/project.py",
        what="six unseen persons projected into W+, to be edited",
        data="avatars",
        short="--network {train_stylegan} --people 2 --steps 15",
        full="--network avatars --people 6",
        shows=("wplus_psnr_db",),
        keeps_figures=("projections.png",),
    ),
    Script(
        name="style_transfer",
        file=f"{FOLDER}/style_transfer.py",
        what="people in three styles, and what each layer of W+ carries",
        data="avatars",
        short="{project_people} --network {train_stylegan}",
        full="{project_people} --network avatars",
        shows=("eval/reached", "eval/recognised"),
    ),
    Script(
        name="expression_transfer",
        file=f"{FOLDER}/expression_transfer.py",
        what="people smiling, surprised and angry, ever more strongly",
        data="avatars",
        short="{project_people} --network {train_stylegan} --emotions smile --strengths 0 1 2",
        full="{project_people} --network avatars",
        shows=("eval/reached", "eval/ratio"),
    ),
    Script(
        name="face_swap",
        file=f"{FOLDER}/face_swap.py",
        what="everyone's face in everyone else's picture",
        data="avatars",
        short="{project_people} --network {train_stylegan} --steps 8",
        full="{project_people} --network avatars",
        shows=("eval/recognised", "eval/yaw_off"),
    ),
    Script(
        name="find_directions",
        file=f"{FOLDER}/find_directions.py",
        what="directions in W found without labels, and what each moves",
        data="avatars",
        short="--network {train_stylegan} --count 3 --images 8",
        full="--network avatars",
        shows=("eval/directions",),
    ),
    Script(
        name="compare_edits",
        file=f"{FOLDER}/compare_edits.py",
        what="all edits by layers and by other ways: what is reached, what stays",
        data="avatars",
        short=None,
        full="--network avatars",
        shows=("eval/projection_ratio", "eval/projection_recognised"),
    ),
)
