"""What a generator promises: images of codes, each of its own code and class alone, the same every time."""

from __future__ import annotations

import torch
from torch import Tensor

from classrob.decoder import Decoder
from classrob.streams import Streams
from classrob.testing.subject import Subject
from classrob.testing.trace import Trace, tensors_of
from classrob.testing.verdict import Skipped, ensure

#: How many images are made; how far images may lie apart that differ by rounding.
COUNT, ROUNDING = 16, 1e-5


def makes_images(subject: Subject) -> None:
    """Of codes it makes finite float32 images of its shape in [0, 1], also of one code and of none."""
    decoder, codes, labels = _made(subject)
    for rows in (slice(None), slice(3, 4), slice(0, 0)):
        image = _images(decoder, codes[rows], labels[rows])
        ensure(image.dtype == torch.float32, f"it makes {image.dtype}")
        ensure(
            image.shape == (len(codes[rows]), *decoder.shape),
            f"it makes {list(image.shape)} of {len(codes[rows])} codes",
        )
        ensure(bool(image.isfinite().all()), "it makes pixels that are not finite")
        if len(image):
            low, high = float(image.min()), float(image.max())
            ensure(low >= 0.0 and high <= 1.0, f"it makes pixels from {low:.3g} to {high:.3g}")


def follows_the_code(subject: Subject) -> None:
    """An image has a finite gradient in its code, which is not zero everywhere."""
    decoder, codes, labels = _made(subject)
    codes = codes.requires_grad_()
    image = decoder(codes, labels)
    ensure(image.requires_grad, "its images have no gradient in their codes, so nothing can search them")
    weight = Streams.keyed(0, "kit", map(str, range(COUNT)), "pixels").normal(*decoder.shape)
    (slope,) = torch.autograd.grad((image * weight).sum(), codes)
    ensure(bool(slope.isfinite().all()), "the gradient is not finite")
    ensure(bool((slope.flatten(1) != 0).any(1).any()), "the gradient is zero everywhere")


def treats_each_image_alone(subject: Subject) -> None:
    """An image depends neither on the other codes nor on their order."""
    decoder, codes, labels = _made(subject)
    whole = _images(decoder, codes, labels)
    for order in (torch.arange(COUNT).flip(0), torch.tensor([5])):
        far = float((_images(decoder, codes[order], labels[order]) - whole[order]).abs().max())
        ensure(far <= ROUNDING, f"an image changes by {far:.3g} with the codes beside it")


def repeats_itself(subject: Subject) -> None:
    """The same codes give the same images, also when it is loaded again, whatever torch's generator says."""
    decoder, codes, labels = _made(subject)
    first = _images(decoder, codes, labels)
    ensure(torch.equal(first, _images(decoder, codes, labels)), "the same codes give other images")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1234)
        again: Decoder = subject.part.load("cpu")
    far = float((first - _images(again, codes, labels)).abs().max())
    ensure(far <= ROUNDING, f"loaded again, its images differ by {far:.3g}")


def encodes_images(subject: Subject) -> None:
    """Where it has an encoder, that gives finite codes of its shape, an image's own, and the same every time."""
    decoder, codes, labels = _made(subject)
    image = _images(decoder, codes, labels)
    found = decoder.encode(image, labels)
    if found is None:
        raise Skipped("it has no encoder")
    ensure(
        found.shape == codes.shape, f"it encodes to {list(found.shape)}, and codes are {list(codes.shape)}"
    )
    ensure(found.dtype == torch.float32 and bool(found.isfinite().all()), "its codes are not finite float32")
    for order in (torch.arange(COUNT), torch.arange(COUNT).flip(0), torch.tensor([5])):
        other = decoder.encode(image[order], labels[order])
        assert other is not None
        far = float((other - found[order]).abs().max())
        ensure(
            far <= ROUNDING * (1.0 + float(found.abs().max())),
            f"an image's code changes by {far:.3g} with the images beside it, or the second time",
        )


def leaves_no_trace(subject: Subject) -> None:
    """Loading leaves torch's own generator as it was, and using it leaves codes, labels and weights so."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(1234)  # a seed that nobody else would choose
        before = torch.get_rng_state()
        decoder, codes, labels = _made(subject)
        ensure(torch.equal(before, torch.get_rng_state()), "it moves torch's global generator: fork it")
    trace = Trace.of(decoder.module, tensors_of(codes=codes, labels=labels))
    image = _images(decoder, codes, labels)
    decoder.encode(image, labels)
    trace.ensure_unchanged("use changes")


def _made(subject: Subject) -> tuple[Decoder, Tensor, Tensor]:
    """The generator, some codes, and labels of its classes."""
    decoder: Decoder = subject.part.load("cpu")
    ensure(isinstance(decoder, Decoder), f"`load` must return a Decoder, not {type(decoder).__name__}")
    codes = Streams.keyed(0, "kit", map(str, range(COUNT)), "codes").normal(*decoder.code)
    return decoder, codes, torch.arange(COUNT) % (decoder.classes or 4)


def _images(decoder: Decoder, codes: Tensor, labels: Tensor) -> Tensor:
    with torch.no_grad():
        return decoder(codes, labels)


CHECKS = (
    makes_images,
    follows_the_code,
    treats_each_image_alone,
    repeats_itself,
    encodes_images,
    leaves_no_trace,
)
