"""The codes of images: known where a generator made them, else by its encoder, else by gradient descent.

Without an encoder a code is searched as by Buzhinsky, Nerinovsky and Tripakis, "Metrics and methods for
robustness evaluation of neural networks with generative models" (Machine Learning 112, 2023): several starts
from the prior, Adam on the squared error of the pixels, the best is kept. Here the best point that was looked
at is kept, all images and starts go side by side, and how far its image is off is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from classrob.decoder import Decoder
from classrob.live import Batch
from classrob.streams import Streams
from classrob_latent.loaded import Loaded

#: How the id of an image begins that a generator made; its key, its seed and its number follow.
MADE = "generated"
#: So many codes are searched side by side.
_AT_ONCE = 256
#: Adam's shares of the earlier slopes and squares, and what keeps it from dividing by 0.
_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class Encoding:
    """How codes are searched where there is no encoder."""

    restarts: int = 4
    steps: int = 40
    rate: float = 0.1


@dataclass(frozen=True)
class Codes:
    """Codes [n, …] of some images, how far their images are off, [n], and which were drawn and not encoded, bool [n].

    `error` is the root of the mean squared pixel's difference, pixels in [0, 1].
    """

    code: Tensor
    error: Tensor
    drawn: Tensor


def id_of(key: str, seed: int, number: int) -> str:
    """The id of a generated image; its code is drawn by it."""
    return f"{MADE}/{key}/{seed}/{number}"


def drawn(decoder: Decoder, ids: Sequence[str]) -> Tensor:
    """The codes of generated images, by their ids alone."""
    return decoder.draw(Streams.keyed(0, MADE, ids, "code").to(decoder.device))


def fitted(images: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Decoded images in the shape [c, h, w] that a model takes; grey becomes colour, other sizes are interpolated."""
    if images.shape[1] == 1 < shape[0]:
        images = images.expand(-1, shape[0], -1, -1)
    if images.shape[2:] != shape[1:]:
        images = interpolate(images, size=shape[1:], mode="bicubic", antialias=True).clamp(0.0, 1.0)
    return images


@torch.no_grad()
def codes_of(generator: Loaded, batch: Batch, how: Encoding) -> Codes:
    """The code of every image of a batch; an image's code is the same whatever model or attack asks."""
    decoder = generator.decoder
    n, images = len(batch), batch.images
    code = images.new_zeros(n, *decoder.code)
    error, known = images.new_zeros(n), torch.zeros(n, dtype=torch.bool, device=images.device)
    lead = f"{MADE}/{generator.key}/"
    if mine := [i for i, sample in enumerate(batch.ids) if sample.startswith(lead)]:
        rows = torch.tensor(mine, device=images.device)
        code[rows] = drawn(decoder, [batch.ids[i] for i in mine])
        known[rows] = True
    if len(rest := (~known).nonzero()[:, 0]):
        code[rest], error[rest] = _encoded(generator, images[rest], batch.labels[rest], how)
    return Codes(code, error, known)


def _encoded(generator: Loaded, images: Tensor, labels: Tensor, how: Encoding) -> tuple[Tensor, Tensor]:
    """Codes and errors of images that no generator is known to have made."""
    names = [_digest(image, int(label), how) for image, label in zip(images, labels, strict=True)]
    if new := [i for i, name in enumerate(names) if name not in generator.found]:
        rows = torch.tensor(new, device=images.device)
        decoder, streams = (
            generator.decoder,
            Streams.keyed(0, "encode", [names[i] for i in new], "").to(images.device),
        )
        code = decoder.encode(_for_encoder(images[rows], decoder), labels[rows])
        if code is None:
            code, error = searched(decoder, images[rows], labels[rows], streams, how)
        else:
            error = _error(decoder, code, labels[rows], images[rows])
        found = {names[i]: (c, float(e)) for i, c, e in zip(new, code, error, strict=True)}
    else:
        found = {}
    pairs = [found.get(name) or generator.found[name] for name in names]
    for name, (code, error) in found.items():
        generator.remember(name, code, error)
    return torch.stack([code for code, _ in pairs]), images.new_tensor([error for _, error in pairs])


def searched(
    decoder: Decoder, images: Tensor, labels: Tensor, streams: Streams, how: Encoding
) -> tuple[Tensor, Tensor]:
    """The best codes of several searches by gradient descent, [n, …], and their errors [n]."""
    starts = max(1, how.restarts)
    every = torch.arange(len(images), device=images.device).repeat_interleave(starts)
    turn = torch.arange(starts, device=images.device).repeat(len(images))
    codes, errors = [], []
    for rows in torch.arange(len(every), device=images.device).split(_AT_ONCE):
        of = every[rows]
        begin = streams.select(of).fork(turn[rows]).normal(*decoder.code)
        code, error = _descended(decoder, begin, images[of], labels[of], how)
        codes.append(code)
        errors.append(error)
    error = torch.cat(errors).reshape(len(images), starts)
    best = error.argmin(1)
    code = torch.cat(codes).reshape(len(images), starts, *decoder.code)
    rows = torch.arange(len(images), device=images.device)
    return code[rows, best], error[rows, best]


def _descended(
    decoder: Decoder, z: Tensor, images: Tensor, labels: Tensor, how: Encoding
) -> tuple[Tensor, Tensor]:
    """Adam from z; the best point looked at, the last one included, and its error."""
    mean, square = torch.zeros_like(z), torch.zeros_like(z)
    best, least = z.clone(), torch.full_like(z.flatten(1)[:, 0], torch.inf)
    for step in range(how.steps + 1):
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            off = (fitted(decoder(z, labels), tuple(images.shape[1:])) - images).flatten(1).square().mean(1)
            (slope,) = torch.autograd.grad(off.sum(), z)
        z, off = z.detach(), off.detach().sqrt()
        better = off < least
        best[better], least[better] = z[better], off[better]
        mean = _FIRST * mean + (1 - _FIRST) * slope
        square = _SECOND * square + (1 - _SECOND) * slope.square()
        root = (square / (1 - _SECOND ** (step + 1))).sqrt() + _TINY
        z = z - how.rate * mean / (1 - _FIRST ** (step + 1)) / root
    return best, least


def _error(decoder: Decoder, code: Tensor, labels: Tensor, images: Tensor) -> Tensor:
    made = fitted(decoder(code, labels), tuple(images.shape[1:]))
    return (made - images).flatten(1).square().mean(1).sqrt()


def _for_encoder(images: Tensor, decoder: Decoder) -> Tensor:
    """Images in the shape that the generator makes: what a model takes may be larger, or in colour."""
    channels, height, width = decoder.shape
    if channels == 1 < images.shape[1]:
        images = images.mean(1, keepdim=True)
    return fitted(images, (channels, height, width))


def _digest(image: Tensor, label: int, how: Encoding) -> str:
    raw = image.detach().cpu().contiguous().numpy().tobytes()
    return hashlib.blake2b(f"{label}{how}".encode() + raw, digest_size=16).hexdigest()
