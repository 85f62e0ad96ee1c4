"""Threats in the codes of generative models, and the metrics of latent space; this module only declares them."""

from __future__ import annotations

from classrob.component import Component
from classrob.hookspecs import hookimpl


@hookimpl
def classrob_generators() -> list[Component]:
    """Generators from a function in a file and weights, or trained on the spot."""
    return [
        Component("classwise", "classrob_latent.files:Classwise", "a decoder for each class, from a file"),
        Component("conditional", "classrob_latent.files:Conditional", "one decoder of codes and classes"),
        Component(
            "autoencoder", "classrob_latent.files:Autoencoder", "an encoder and a decoder, from a file"
        ),
        Component(
            "diffusers", "classrob_latent.diffused:Diffusers", "an autoencoder of diffusers, from a folder"
        ),
        Component("vae", "classrob_latent.vae:VAE", "a small one for any small images, to be trained"),
        Component("fitted", "classrob_latent.fitted:Fitted", "one that is trained on a data set and kept"),
    ]


@hookimpl
def classrob_recipes() -> list[Component]:
    """How a generator is trained."""
    return [
        Component(
            "variational",
            "classrob_latent.variational:Variational",
            "a generator by the evidence lower bound",
        )
    ]


@hookimpl
def classrob_datasets() -> list[Component]:
    """Images that a generator makes."""
    return [
        Component(
            "generated", "classrob_latent.generated:Generated", "images of a generator, of known classes"
        )
    ]


@hookimpl
def classrob_threats() -> list[Component]:
    """Images that are near in a generator's codes."""
    return [
        Component("latent", "classrob_latent.threat:Latent", "images of codes near that of an image"),
        Component("latent-noise", "classrob_latent.noise:LatentNoise", "random images near one in its code"),
    ]


@hookimpl
def classrob_attacks() -> list[Component]:
    """The search of the paper."""
    return [
        Component("latent-search", "classrob_latent.search:LatentSearch", "restarts with a shrinking radius")
    ]


@hookimpl
def classrob_probes() -> list[Component]:
    """What other models say."""
    return [
        Component(
            "second-opinion", "classrob_latent.opinion:SecondOpinion", "what other models see in an image"
        ),
        Component(
            "perceptual", "classrob_latent.perceptual:Perceptual", "how different an image looks (LPIPS)"
        ),
    ]


@hookimpl
def classrob_metrics() -> list[Component]:
    """LGA, LRA, LLNA, LAGS, LARS, LAGA, LARA, and what stands beside them."""
    return [
        Component(
            "mean-distance", "classrob_latent.metrics:MeanDistance", "mean of the smallest distances found"
        ),
        Component(
            "latent-severity", "classrob_latent.metrics:LatentSeverity", "LAGS, LARS: mean latent shift"
        ),
        Component(
            "latent-accuracy", "classrob_latent.metrics:LatentAccuracy", "LAGA, LARA: right within a budget"
        ),
        Component(
            "source-accuracy",
            "classrob_latent.metrics:SourceAccuracy",
            "LGA, LRA: generated or reconstructed images that are right",
        ),
        Component(
            "local-noise-accuracy",
            "classrob_latent.metrics:LocalNoiseAccuracy",
            "LLNA: right under noise in the code",
        ),
        Component(
            "latent-shift",
            "classrob_latent.metrics:LatentShift",
            "what latent perturbations change in images",
        ),
        Component(
            "latent-realism",
            "classrob_latent.metrics:LatentRealism",
            "are perturbed codes as likely as others?",
        ),
        Component(
            "second-opinion",
            "classrob_latent.agreeing:SecondOpinionShare",
            "do other models still see the class?",
        ),
        Component(
            "perceptual-distance",
            "classrob_latent.looks:PerceptualDistance",
            "how different do images look that fool the model?",
        ),
        Component(
            "model-agreement",
            "classrob_latent.agreement:ModelAgreement",
            "do models rank alike in every space?",
        ),
    ]
