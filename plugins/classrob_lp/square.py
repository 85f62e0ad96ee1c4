"""Square Attack: random search by windows of pixels, with the model's logits and no gradient."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from pydantic import Field
from torch import Tensor

from classrob.errors import StudyError
from classrob.parts import Need
from classrob.search import Live, State, StepwiseAttack
from classrob.space import Space
from classrob.streams import Streams
from classrob_lp.asked import Asked
from classrob_lp.balls import L2Ball, LinfBall, Offsets
from classrob_lp.l1 import L1Ball
from classrob_lp.windows import Plan, Windows, bump, plan

#: Of the budget, how much a smooth update uses up: what is left is for rounding.
USED = 1.0 - 1e-6

#: The power of each norm; 0 stands for ℓ∞.
POWERS: dict[type[Space], int] = {LinfBall: 0, L2Ball: 2, L1Ball: 1}


@final
class Square(StepwiseAttack):
    """Square Attack: random windows, kept where the margin falls (Andriushchenko et al., 2020).

    The first query of a restart looks at where it begins: vertical stripes for ℓ∞, a grid of bumps for ℓ2
    and ℓ1 (in a sweep: where a larger budget ended). Every other query changes one window of each image,
    anywhere in it. For ℓ∞ the window takes one extreme colour, drawn again until the image changes. For ℓ2
    and ℓ1 it takes a bump beside what it holds, and the norm of a second window, which is emptied.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "logits", "pixels"})

    steps: int = Field(default=5000, ge=1, description="queries of one restart")
    p_init: float = Field(default=0.8, gt=0, le=1, description="area of the first windows, as a share")
    targets: int = Field(default=0, ge=0, le=0, description="it is untargeted: 0")

    def begin(self, live: Live) -> State:
        """Where each row starts; the step evaluates it."""
        space, power = _searched(live.space)
        first = _stripes(space, live.streams) if power == 0 else _grid(space, live.streams, power)
        z = torch.where(space.rows(live.fresh_start), first, live.origin).contiguous()
        nowhere, lull = torch.full_like(space.budget, -torch.inf), torch.zeros_like(live.age)
        state = {"z": z, "margin": nowhere, "lull": lull}
        if power:
            return state | {"mass": _mass(z, power).sum((1, 2, 3))}
        return state | {"shown": space.render(z).contiguous()}

    def step(self, live: Live, state: State) -> State:
        """The next queries of each row, up to the first that is a gain: there one window changes."""
        space, power = _searched(live.space)
        asked = Asked.of(live, state["lull"], self.steps)
        shapes = plan(self.steps, self.p_init, *space.images.shape[2:], power, space.images.device)
        if power == 0:
            return _paint(live, space, shapes, asked, state)
        return _reshape(live, space, shapes, asked, state, power)


def _searched(space: Space) -> tuple[Offsets, int]:
    """The space, and the power of its norm.

    Raises:
        StudyError: the space is another than the ℓ∞, ℓ2 and ℓ1 balls.
    """
    if not isinstance(space, Offsets) or type(space) not in POWERS:
        raise StudyError(
            f"attack 'square' searches the threats linf, l2 and l1, not '{type(space).__name__}': name another attack"
        )
    return space, POWERS[type(space)]


def _mass(values: Tensor, power: int) -> Tensor:
    """What adds up to the norm to the power, in float64."""
    return values.double().abs() if power == 1 else values.double().square()


def _high(words: Tensor) -> Tensor:
    """The upper half of 64-bit words, as numbers from 0 up."""
    return words >> 32 & 0xFFFFFFFF


def _signs(words: Tensor) -> Tensor:
    """float32, −1 or 1."""
    return torch.where(words < 0, -1.0, 1.0)


def _corners(high: Tensor, side: Tensor, height: int, width: int) -> Tensor:
    """Where windows begin, int64 [n, k], by random numbers [n, 2, k] below 2³²: anywhere that they fit."""
    y = high[:, 0] * (height + 1 - side)[:, None] >> 32
    x = high[:, 1] * (width + 1 - side)[:, None] >> 32
    return y * width + x


# -- ℓ∞ -----------------------------------------------------------------------------------------------


def _stripes(space: Offsets, streams: Streams) -> Tensor:
    """Every column of every channel up or down by the whole budget."""
    n, channels, _, width = space.images.shape
    signs = _signs(streams.fork("stripes").bits(channels, 1, width))
    return (space.rows(space.budget) * signs).expand(n, channels, space.images.shape[2], width)


def _paint(live: Live, space: Offsets, shapes: Plan, asked: Asked, state: State) -> State:
    """One colour in a window of an image: every channel up or down by the whole budget.

    An offset here is the budget up or down at every pixel, and the box cuts what is shown of it. Only the windows
    are rendered.
    """
    z, shown, shape = state["z"], state["shown"], space.images.shape[1:]
    words = asked.streams(live).bits(3 + shape[0])
    high = _high(words[:, :3])
    side, pixels, first = shapes.of_query.index_select(0, asked.age).unbind(1)
    corner = _corners(high[:, :2, None], side, *shape[1:])[:, 0]
    windows = Windows.at(shapes, pixels, first, corner, asked.row, shape)
    colour = space.budget[asked.row, None] * _signs(words[:, 3:])
    old, new = windows.read(z), windows.spread(colour)
    changed = windows.total((old - new).abs()).sum(1) > 0.0
    if not changed.all():  # the window has this colour already: any of the others, all alike
        flips = 1 + (high[:, 2:] * (2 ** min(shape[0], 31) - 1) >> 32)
        flips = flips >> torch.arange(shape[0], device=z.device).clamp_(max=31) & 1
        new = windows.spread(colour * (1 - 2 * flips * ~changed[:, None]))
    tried = shown.index_select(0, asked.row)
    alone = windows.moved((torch.arange(len(tried), device=z.device) - asked.row) * shape.numel())
    alone.write(tried, windows.read(space.images).add_(new).clamp_(0.0, 1.0))
    found = asked.outcome(live, state, tried)
    if found.gains.any():
        shown[asked.row[found.gains]] = tried[found.gains]
        windows.write(z, new, of=found.gains)
    live.came(z, found.logits, found.looks)
    return {**state, **found.state}


# -- ℓ2 and ℓ1 ----------------------------------------------------------------------------------------


def _grid(space: Offsets, streams: Streams, power: int) -> Tensor:
    """Five by five bumps (more where the sides leave room), each with a sign and lying or standing."""
    n, channels, height, width = space.images.shape
    pixels = max(1, min(height, width) // 5)
    edge = max(0, (min(height, width) - 5 * pixels) // 2)
    down, across = (height - edge) // pixels, (width - edge) // pixels
    words = streams.fork("grid").bits(channels + 1, down, 1, across, 1)
    upright = bump(pixels, power).to(space.images.device)[:, None]
    bumps = torch.where(words[:, -1:] < 0, upright, upright.permute(2, 1, 0))
    tiles = (_signs(words[:, :-1]) * bumps).reshape(n, channels, down * pixels, across * pixels)
    z = torch.zeros_like(space.images)
    z[:, :, edge : edge + down * pixels, edge : edge + across * pixels] = tiles
    if power == 1:
        return space.project(z)
    z *= space.rows(USED * space.budget / space.distance(z))
    return (space.images + z).clamp(0.0, 1.0) - space.images


def _reshape(live: Live, space: Offsets, shapes: Plan, asked: Asked, state: State, power: int) -> State:
    """A bump is added to a window's direction, channel by channel, and a second window is emptied for it.

    The window takes what the two had, and the channel's part of what the image leaves of the budget.
    """
    channels, mass = space.images.shape[1], state["mass"][asked.row]
    space, z = space.select(asked.row), state["z"].index_select(0, asked.row)
    words = asked.streams(live).bits(5 + channels)
    high = _high(words[:, :4])
    side, pixels, first = shapes.of_query.index_select(0, asked.age).unbind(1)
    corners = _corners(high.view(-1, 2, 2), side, *z.shape[2:])
    each = torch.arange(len(z), device=z.device)
    gain = Windows.at(shapes, pixels, first, corners[:, 0], each, z.shape[1:])
    loss = gain.moved(corners[:, 1] - corners[:, 0])
    empty = z.new_zeros(()).expand(gain.place.shape)
    old = gain.read(z)
    gain.write(z, empty)
    lost = loss.read(z)  # zero where the windows overlap, so that nothing is counted twice
    loss.write(z, empty)

    own = gain.total(_mass(old, power))
    union = own + loss.total(_mass(lost, power))
    limit = (USED * space.budget.double()) ** power
    spare = (limit - mass).clamp_min(0.0)[:, None] / channels + union
    target = channels * spare if power == 1 else spare.sqrt()
    turned = gain.spread(words[:, 4] < 0) * (len(shapes.bumps) // 2)
    new = shapes.bumps.index_select(0, gain.cell + turned)[:, None] * gain.spread(_signs(words[:, 5:]))
    new = new + old / gain.spread(own ** (1.0 / power) + 1e-12).float()
    norm = gain.total(_mass(new, power)) ** (1.0 / power)
    new = new * gain.spread(target / (norm + 1e-12)).float()

    if power == 1:  # the channels together now have too much, and the projection takes the smallest away
        gain.write(z, new)
        z = space.project(z)
        mass = space.distance(z).double()
    else:
        pixel = gain.read(space.images)
        new = new.clamp(-pixel, 1.0 - pixel)
        gain.write(z, new)
        mass = mass + (gain.total(_mass(new, power)) - union).sum(1)
    found = asked.outcome(live, state, space.render(z))
    rows = asked.row[found.gains]
    state["z"][rows], state["mass"][rows] = z[found.gains], mass[found.gains]
    live.came(state["z"], found.logits, found.looks)
    return {**state, **found.state}
