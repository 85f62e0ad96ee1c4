"""What `classrob train` was told to do, and doing it: train, write, measure, say what came out."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import click
import torch
from safetensors.torch import save_file

from classrob.catalog import Catalog
from classrob.cli.assigning import assigned
from classrob.cli.measure import Measured, measured, reconstructed
from classrob.decoder import Decoder
from classrob.errors import ClassrobError, StudyError, UsageError, one_line
from classrob.export.card import Made, card
from classrob.live import Classifier, bare
from classrob.parts import Dataset, Generator, Part, Recipe, Trainable
from classrob.subset import opened
from classrob.training.checkpoint import NAME
from classrob.training.course import Course, Mark, Trained
from classrob.training.curves import curves
from classrob.training.measuring import table_of
from classrob.training.shelf import shape_of

#: Where fields of other parts than the recipe begin, in `--set`.
_OTHERS = ("data", "model", "test")


@dataclass(frozen=True)
class Named:
    """A part, what it was called, and the fields that the reference filled."""

    reference: str
    part: Any
    filled: Mapping[str, str] = field(default_factory=dict)

    def table(self, folder: Path) -> dict[str, Any]:
        """As a table of a study in a folder."""
        return table_of(self.reference, self.part, self.filled, folder)


@dataclass(frozen=True)
class Order:
    """One training: its parts, where things go, and how the model is measured afterwards."""

    recipe: Named
    model: Named
    data: Named
    test: Named | None
    out: Path
    course: Course
    fresh: bool
    study: Path | None

    @classmethod
    def read(cls, recipe: str, changes: tuple[str, ...], **options: Any) -> Self:
        """The order that the command line gives.

        Raises:
            UsageError, StudyError: something is named that there is not, or that does not go together.
        """
        out: Path = options["out"]
        if out.suffix != ".safetensors":
            raise UsageError(f"--out names a file of weights, FILE.safetensors, not '{out}'")
        fields = _fields(changes)
        for name in ("epochs", "seed"):
            if options[name] is not None:
                fields["recipe"][name] = options[name]
        _there(options["device"])
        how = _named("recipe", recipe, fields["recipe"])
        trains, usual = how.part.trains, options["model"] or how.part.usual
        if options["study"] and trains != "model":
            raise UsageError(
                f"--eval measures models, and '{recipe}' trains a {trains}: name test data by --test"
            )
        test = (
            None
            if options["no_eval"] or options["study"]
            else _test(options["test"], options["data"], fields)
        )
        folder: Path = options["checkpoints"] or out.with_name(f"{out.stem}.checkpoints")
        return cls(
            how,
            _trainable(_named(trains, usual, fields["model"])),
            _learned(options["data"], fields["data"]),
            test,
            out,
            Course(options["device"], options["threads"], options["hold_out"], folder, marked=_said),
            options["fresh"],
            None if options["no_eval"] else options["study"],
        )

    def carry_out(self) -> int:
        """Train, write, measure; returns the exit code."""
        if self.test is not None:
            _alike(self.data.part, self.test.part)
        self._prepare()
        recipe: Recipe = self.recipe.part
        try:
            trained = recipe.train(self.model.part, self.data.part, self.course)
            model = self._keep(trained)
            found = self._measured(model)
        except KeyboardInterrupt:
            again = shlex.join(["classrob", *sys.argv[1:]])
            click.echo(f"\ninterrupted; the last checkpoint is kept. Resume with: {again}", err=True)
            return 130
        history, title = trained.history, f"{self.out.stem}: {self.recipe.reference}"
        picture = self._beside(".svg", curves(history, title)) if history else None
        self._beside(".md", self._card(trained, model, found, picture))
        click.echo(self.out)
        beside = [f"{self.out.stem}{end}" for end in (".md", ".svg", ".toml") if self._path(end).is_file()]
        click.echo(f"done: beside it {', '.join(beside)}", err=True)
        return found.code

    def _card(self, trained: Trained, model: Named, found: Measured, picture: Path | None) -> str:
        folder = self.out.parent
        made = Made(
            self.out.name,
            self.recipe.reference,
            self.recipe.part,
            model.table(folder),
            self.data.table(folder),
            trained,
            self.course,
            None if picture is None else picture.name,
            found.study,
            found.rows,
        )
        return card(made)

    def _prepare(self) -> None:
        """The folder of the weights; without old checkpoints, if these are not wanted."""
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            if self.fresh and self.course.folder is not None:
                (self.course.folder / NAME).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(f"--out {self.out} cannot be written: {error.strerror}") from None

    def _keep(self, trained: Trained) -> Named:
        """The weights in their file, and the part that reads them; it is seen to be the same.

        Raises:
            ClassrobError: the file does not give the network that was trained.
        """
        state = bare(trained.network.module).state_dict()
        draft = self.out.with_name(f".{self.out.name}.{os.getpid()}")
        try:
            save_file({name: one.detach().cpu().contiguous().clone() for name, one in state.items()}, draft)
            draft.replace(self.out)
        except OSError as error:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise UsageError(f"--out {self.out} cannot be written: {one_line(error)}") from None
        model = trained.model.model_copy(update={str(trained.model.weights_in): self.out.resolve()})
        same = _answers(model.load("cpu"), self.data.part), _answers(trained.network, self.data.part)
        if not torch.allclose(*same, rtol=1e-3, atol=1e-3):
            raise ClassrobError(
                f"{self.out} does not give the network that was trained: is its {self.recipe.part.trains} drawn "
                "anew at each load?"
            )
        return Named(self.model.reference, model, self.model.filled)

    def _measured(self, model: Named) -> Measured:
        if isinstance(model.part, Generator):
            return reconstructed(self.out, model.part, self.test)
        shape = shape_of(opened(self.data.part, self.data.reference))
        threats = self.recipe.part.threats(shape)
        return measured(self.out, model, self.test, threats, self.study, self.course.device)

    def _path(self, suffix: str) -> Path:
        return self.out.with_name(f"{self.out.stem}{suffix}")

    def _beside(self, suffix: str, text: str) -> Path:
        self._path(suffix).write_text(text, "utf-8")
        return self._path(suffix)


def _fields(changes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Fields by the part that they are of; what names no other part is the recipe's."""
    fields: dict[str, dict[str, Any]] = {name: {} for name in ("recipe", *_OTHERS)}
    for change in changes:
        path, value = assigned(change)
        head, dot, rest = path.partition(".")
        owner, name = (head, rest) if dot and head in _OTHERS else ("recipe", path)
        fields[owner][name] = value
    return fields


def _named(kind: str, reference: str, fields: Mapping[str, Any]) -> Named:
    catalog, base = Catalog.installed(), Path.cwd()
    _, filled = catalog.part_class(kind, reference, base)
    return Named(reference, catalog.make(kind, reference, fields, base, kind), filled)


def _learned(reference: str, fields: dict[str, Any]) -> Named:
    """The data to learn from: where a data set is split by its own default, the split `train`."""
    cls: type[Part] = Catalog.installed().part_class("dataset", reference, Path.cwd())[0]
    split = cls.model_fields.get("split")
    if split is not None and split.default is not None and "split" not in fields:
        fields["split"] = "train"
    return _named("dataset", reference, fields)


def _test(reference: str | None, data: str, fields: Mapping[str, dict[str, Any]]) -> Named | None:
    """The data to measure on: those that were named, or the split `test` of the others, if there is one."""
    if reference is not None:
        return _named("dataset", reference, fields["test"])
    learned = _learned(data, dict(fields["data"]))
    if getattr(learned.part, "split", None) != "train":
        if fields["test"]:
            raise UsageError("--set test.… needs --test, since the data to learn from have no split 'test'")
        return None
    shared = {name: value for name, value in fields["data"].items() if name not in ("limit", "stratify")}
    try:
        named = _named("dataset", data, {**shared, "split": "test", **fields["test"]})
        opened(named.part, data)
    except StudyError:
        if fields["test"]:
            raise
        return None
    return named


def _trainable(model: Named) -> Named:
    part: Trainable = model.part
    if part.weights_in is None:
        kind, others = (
            ("generator", "'vae'") if isinstance(part, Generator) else ("model", "'torch', 'timm/…' or 'cnn'")
        )
        raise StudyError(
            f"{kind} '{model.reference}' reads its weights from no file, so it cannot be trained: take {others}"
        )
    return model


def _alike(data: Dataset, test: Dataset) -> None:
    """The same classes in the same order."""
    ours, theirs = (list(opened(one, type(one).__name__).classes) for one in (data, test))
    if ours != theirs:
        raise StudyError(
            f"the data to learn from have classes {', '.join(ours[:4])}, … ({len(ours)}), those to measure on "
            f"{', '.join(theirs[:4])}, … ({len(theirs)}): they must be the same, in the same order"
        )


def _there(device: str) -> None:
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise StudyError(f"--device {device} cannot be used: {one_line(error)[:120]}") from None


def _answers(network: Classifier | Decoder, data: Dataset) -> torch.Tensor:
    """Logits of the first images; of a generator, what it makes of codes that are all 1."""
    samples = opened(data, type(data).__name__)
    batch, _ = samples.read(range(min(8, len(samples))), network.fit)
    assert batch is not None
    batch = batch.to(network.device)
    with network.frozen(), torch.no_grad():
        if isinstance(network, Decoder):
            return network(batch.images.new_ones(len(batch), *network.code), batch.labels).cpu()
        return network(batch.images).cpu()


def _said(mark: Mark) -> None:
    """A line an epoch on standard error, above the bar."""
    values = [
        f"{name} {100 * value:.1f} %" if name.endswith("accuracy") else f"{name} {value:.4g}"
        for name, value in mark.values.items()
    ]
    start = "\r\x1b[2K" if sys.stderr.isatty() else ""
    click.echo(f"{start}epoch {mark.epoch}: {', '.join(values)}, {mark.seconds:.0f} s", err=True)
