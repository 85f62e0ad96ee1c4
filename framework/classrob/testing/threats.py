"""What a threat and the space that it opens promise: geometry that attacks and the judge can rely on."""

from __future__ import annotations

from dataclasses import replace

import torch

from classrob.testing.geometry import ROUNDING, anywhere, apart, excess, opened, size, verbs
from classrob.testing.subject import Subject
from classrob.testing.trace import Trace, tensors_of
from classrob.testing.verdict import Skipped, ensure


def includes_the_image(subject: Subject) -> None:
    """The centre is inside at distance 0; in a space of pixels it renders the image itself."""
    where = opened(subject)
    centre = where.space.centre()
    ensure(apart(where.space.project(centre), centre) <= ROUNDING, "projecting the centre moves it")
    if centre.is_floating_point():
        ensure(float(where.space.distance(centre).max()) == 0.0, "the centre's distance is not 0")
    if subject.part.pixels:
        there = apart(where.space.render(centre), where.batch.images)
        ensure(there <= ROUNDING, f"the centre's image differs from the original by {there:.3g}")


def projects_inside(subject: Subject) -> None:
    """Whatever is projected lands within the budget, to 1e-6, also where `at` has set a smaller one."""
    whole = opened(subject)
    for where in (whole, replace(whole, space=whole.space.at(0.4 * whole.space.budget))):
        for z in anywhere(where):
            over = excess(where, where.space.project(z))
            ensure(over <= 0.0, f"a projected point exceeds its budget by {over:.3g}")


def projects_once(subject: Subject) -> None:
    """Projecting twice is projecting once."""
    where = opened(subject)
    for z in anywhere(where):
        once = where.space.project(z)
        moved = apart(where.space.project(once), once)
        ensure(
            moved <= ROUNDING * (1.0 + size(once)), f"projecting a projected point moves it by {moved:.3g}"
        )


def leaves_inside_points_alone(subject: Subject) -> None:
    """A point inside stays where it is when it is projected, or goes to one that renders the same image."""
    where = opened(subject)
    half = torch.full((len(where.batch),), 0.5)
    inside = [where.space.start(where.streams.fork("inside"))]
    if inside[0].is_floating_point():
        inside += [where.space.shrink(where.space.project(z), half) for z in anywhere(where)]
    for z in inside:
        if excess(where, z) <= 0.0:
            there = where.space.project(z)
            moved = apart(there, z)
            still = moved <= ROUNDING * (1.0 + size(z)) or (
                apart(where.space.render(there), where.space.render(z)) <= ROUNDING
            )
            ensure(still, f"projecting a point inside moves it by {moved:.3g}")


def starts_inside(subject: Subject) -> None:
    """Random points are within the budget, and the same streams draw the same ones."""
    where = opened(subject)
    for fork in range(4):
        z = where.space.start(where.streams.fork(fork))
        ensure(excess(where, z) <= 0.0, f"a random point exceeds its budget by {excess(where, z):.3g}")
        again = where.space.start(where.streams.fork(fork))
        ensure(torch.equal(z, again), "the same streams draw different random points")


def renders_images(subject: Subject) -> None:
    """Every point inside renders a finite float32 image of the original's shape in [0, 1]."""
    where = opened(subject)
    for z in [where.space.centre(), *map(where.space.project, anywhere(where))]:
        image = where.space.render(z)
        ensure(image.dtype == torch.float32, f"it renders {image.dtype}")
        ensure(
            len(image) == len(z) and image.ndim == 4, f"it renders {tuple(image.shape)} for {len(z)} points"
        )
        ensure(bool(image.isfinite().all()), "it renders pixels that are not finite")
        low, high = float(image.min()), float(image.max())
        ensure(low >= -ROUNDING and high <= 1.0 + ROUNDING, f"it renders pixels from {low:.3g} to {high:.3g}")


def offsets_pixels_where_it_says_so(subject: Subject) -> None:
    """Where `pixels` is set, rendering is the image plus z, cut to [0, 1]."""
    if not subject.part.pixels:
        raise Skipped("it is no space of pixels")
    where = opened(subject)
    for z in map(where.space.project, anywhere(where)):
        ensure(z.shape == where.batch.images.shape, f"z has shape {tuple(z.shape)}, not that of the images")
        off = apart(where.space.render(z), (where.batch.images + z).clamp(0.0, 1.0))
        ensure(off <= ROUNDING, f"rendering differs from the image plus z by {off:.3g}")


def climbs_along_the_slope(subject: Subject) -> None:
    """The steepest direction has distance 1 and goes uphill, however small the slope; 0 for a slope of 0."""
    where = opened(subject)
    centre = where.space.centre()
    if not centre.numel() or not centre.is_floating_point():
        raise Skipped("there is no direction to go in")
    if not where.space.render(centre.clone().requires_grad_()).requires_grad:
        raise Skipped("rendering is not differentiable, so nothing climbs here")
    draw = where.streams.fork("slope").normal(*centre.shape[1:])
    for scale in (1.0, 1e-12, 1e12):
        direction = where.space.steepest(scale * draw)
        length = where.space.distance(centre + direction)
        far = float((length - 1.0).abs().max())
        ensure(
            far <= 1e-4,
            f"for a slope of size {scale:g} the steepest direction has distance {1 + far:.4g}, not 1",
        )
        uphill = (draw * direction).flatten(1).sum(1)
        ensure(bool((uphill > 0).all()), "the steepest direction does not go uphill")
    flat = where.space.steepest(torch.zeros_like(centre))
    ensure(size(flat) == 0.0, "for a slope of 0 the steepest direction is not 0")


def selects_rows(subject: Subject) -> None:
    """Choosing rows and choosing budgets commute, and rows are those of the whole space."""
    where = opened(subject)
    rows = torch.tensor([7, 2, 2, 11])
    budget = where.space.budget * torch.linspace(0.3, 1.0, len(where.batch))
    z = anywhere(where)[-1]
    whole = where.space.at(budget)
    for space in (where.space.select(rows).at(budget[rows]), whole.select(rows)):
        ensure(torch.equal(space.budget, budget[rows]), "`select` and `at` do not commute")
        for name, here, there in verbs(space, z[rows], whole, z):
            ensure(
                apart(here, there[rows]) <= ROUNDING * (1.0 + size(there)),
                f"`{name}` differs on selected rows",
            )


def treats_each_row_alone(subject: Subject) -> None:
    """A row's geometry, its random point and the space opened around it do not depend on other rows."""
    where = opened(subject)
    z = anywhere(where)[-1]
    start = where.space.start(where.streams)
    for row in range(len(where.batch)):
        one = torch.tensor([row])
        alone = where.select(one)
        reopened = subject.part.open(alone.batch, alone.classifier, alone.streams.fork("threat"))
        for space in (alone.space, reopened):
            for name, here, there in verbs(space, z[one], where.space, z):
                close = apart(here, there[one]) <= 1e-5 * (1.0 + size(there))
                ensure(close, f"`{name}` of a row depends on the other rows")
            ensure(
                apart(space.start(alone.streams), start[one]) <= 1e-5,
                "`start` of a row depends on the other rows",
            )


def nests_its_budgets(subject: Subject) -> None:
    """Where `nested` is set, a point inside a smaller budget is inside a larger one, as the same image."""
    if not subject.part.nested:
        raise Skipped("it does not say that smaller budgets lie inside larger ones")
    where = opened(subject)
    small = where.space.at(0.4 * where.space.budget)
    for z in (small.start(where.streams), small.project(anywhere(where)[-1])):
        moved = apart(where.space.project(z), z)
        ensure(
            moved <= ROUNDING * (1.0 + size(z)),
            f"a point of a smaller budget is moved by {moved:.3g} at a larger",
        )
        ensure(
            apart(small.distance(z), where.space.distance(z)) <= ROUNDING, "`distance` depends on the budget"
        )
        ensure(apart(small.render(z), where.space.render(z)) <= ROUNDING, "`render` depends on the budget")


def leaves_the_batch_alone(subject: Subject) -> None:
    """Opening and using the space changes neither the batch nor the points that it is given."""
    where = opened(subject)
    z = anywhere(where)[0]
    trace = Trace.of(where.classifier.module, tensors_of(batch=where.batch, z=z, budget=where.space.budget))
    space = subject.part.open(where.batch, where.classifier, where.streams.fork("threat"))
    list(verbs(space, z, where.space, z))
    trace.ensure_unchanged("use changes")


CHECKS = (
    includes_the_image,
    projects_inside,
    projects_once,
    leaves_inside_points_alone,
    starts_inside,
    renders_images,
    offsets_pixels_where_it_says_so,
    climbs_along_the_slope,
    selects_rows,
    treats_each_row_alone,
    nests_its_budgets,
    leaves_the_batch_alone,
)
