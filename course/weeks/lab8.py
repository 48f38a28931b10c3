"""What `python3 -m course run` starts of lab 8: autoencoders and a GAN of creatures, walks between them."""

from course.weeks.script import Script

FOLDER = "lab8_generative"

SCRIPTS = (
    Script(
        name="creatures_ae",
        file=f"{FOLDER}/train_autoencoder.py",
        what="an autoencoder of a thousand creatures; it says where over-fitting begins",
        data="creatures",
        short="--epochs 2",
        full="",
        shows=("val/mse",),
        keeps_figures=(),
    ),
    Script(
        name="creatures_vae",
        file=f"{FOLDER}/train_autoencoder.py",
        what="a VAE of the same",
        data="creatures",
        short="--model vae --epochs 2",
        full="--model vae",
        shows=("val/mse", "val/kl_nats"),
        keeps_figures=("loss.png",),
    ),
    *(
        Script(
            name=f"creatures_ae_{loss}",
            file=f"{FOLDER}/train_autoencoder.py",
            what=f"the autoencoder trained on another loss ({loss})",
            data="creatures",
            short=None,
            full=f"--loss {loss}",
            shows=("val/l1", "val/mse", "val/perceptual"),
            keeps_figures=(),
        )
        for loss in ("mse", "perceptual")
    ),
    Script(
        name="creatures_gan",
        file=f"{FOLDER}/train_gan.py",
        what="a GAN of a thousand creatures: augmentation, R1, averaged weights; is D over-fitting?",
        data="creatures",
        short="--steps 40 --measure-every 20 --width 8",
        full="",
        shows=("val/overfitting",),
        keeps_figures=("distance.png", "overfitting.png"),
    ),
    Script(
        name="creatures_gan_nearest",
        file=f"{FOLDER}/train_gan.py",
        what="the same GAN without transposed convolutions",
        data="creatures",
        short=None,
        full="--upsampling nearest",
        shows=("val/overfitting",),
        keeps_figures=(),
    ),
    *(
        Script(
            name=f"creatures_generate_{kind}",
            file=f"{FOLDER}/generate.py",
            what=f"samples from random latents ({kind}), how far from real images, their nearest neighbours",
            data="creatures",
            short=None if kind == "gan_nearest" else f"{{creatures_{kind}}} --real-images 500",
            full=f"{{creatures_{kind}}}",
            shows=("eval/diversity_prior", "eval/nearest_training_image_prior"),
            keeps_figures=figures,
        )
        for kind, figures in {
            "ae": ("prior.png", "mixture.png"),
            "vae": ("mixture.png",),
            "gan": ("prior.png", "neighbours-prior.png"),
            "gan_nearest": ("prior.png",),
        }.items()
    ),
    *(
        Script(
            name=f"creatures_interpolate_{kind}",
            file=f"{FOLDER}/interpolate.py",
            what=f"a GIF from one creature to another through latent space ({kind}), beside the cross-fade",
            data="creatures",
            short=f"{{creatures_{kind}}} 3 17 --inversion-steps 20",
            full=f"{{creatures_{kind}}} 3 17",
            shows=("eval/largest_step", "eval/detour"),
            keeps_figures=figures,
        )
        for kind, figures in {
            "ae": (),
            "vae": ("strip.png", "interpolation.gif"),
            "gan": ("interpolation.gif",),
        }.items()
    ),
)
