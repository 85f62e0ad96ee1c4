"""Which detectors judge which conditions of a study, and on what each of them is fitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import ValidationError

from classrob.catalog import Catalog
from classrob.errors import StudyError, nearest
from classrob.identity import identity
from classrob.named import Named, make, name_of, named, table_of
from classrob.parts import Attack, Dataset, Detector, Threat
from classrob.streams import key_of
from classrob.subset import opened

#: At which budgets of a threat a probe or a detector looks.
Observed = Literal["largest", "all"]

#: What leads the name of a data set whose images belong to no class, in the column of threats.
OOD = "ood/"

#: So many images of a training split are a detector's reference where a study names none.
REFERENCE = 5000

#: The outliers that a detector may learn from: none, those that it is judged on, or all but those.
PROTOCOLS = ("none", "own", "others")


def levels(observed: Observed, budgets: tuple[float, ...]) -> frozenset[int]:
    """The places of the observed budgets; 0 where there is no threat."""
    n = max(1, len(budgets))
    return frozenset(range(n) if observed == "all" else [n - 1])


def held(sample: str) -> bool:
    """Does a sample belong to the half on which detectors are fitted, where a data set has to serve for both?

    A sample's perturbed images go with it.
    """
    return bool(key_of("reference", sample) & 1)


@dataclass(frozen=True)
class Outliers:
    """Images that a detector may learn from: another data set's, or those of the reference under a threat."""

    name: str
    dataset: Named[Dataset] | None = None
    threat: Named[Threat] | None = None
    attack: Named[Attack] | None = None

    def address(self) -> Any:
        """What decides these images, as data."""
        if self.dataset is not None:
            return [self.name, _sliced(self.dataset.part)]
        return [self.name, *(identity(one.part) for one in (self.threat, self.attack) if one is not None)]


@dataclass(frozen=True)
class Detection:
    """One detector, fitted on one reference, and the column that its scores stand in.

    Attributes:
        reference: the data set that it is fitted on; None for a half of the judged one.
        outliers: what it may learn to tell from the reference.
    """

    detector: Named[Detector]
    reference: Dataset | None
    outliers: tuple[Outliers, ...]
    column: str
    budgets: Observed

    def address(self) -> Any:
        """What decides its scores of a model's images, as data."""
        learned = [one.address() for one in self.outliers]
        return [self.column, identity(self.detector.part), self.reference_address(), learned, self.budgets]

    def reference_address(self) -> Any:
        """What decides the images that it is fitted on, as data; None for a half of the judged ones."""
        return None if self.reference is None else _sliced(self.reference)

    def levels(self, budgets: tuple[float, ...]) -> frozenset[int]:
        """The places of the judged budgets; 0 where there is no threat."""
        return levels(self.budgets, budgets)

    def fitted_on(self, sample: str, stranger: str | None) -> bool:
        """Was it fitted on a sample of the judged data set, or of another one called `stranger`?"""
        if stranger is None:
            return self.reference is None and held(sample)
        return any(one.name == stranger for one in self.outliers) and held(sample)


@dataclass(frozen=True)
class Guard:
    """A detector as the study asks for it.

    Attributes:
        against: the names of the threats that it is judged against.
        ood: the data sets whose images it is to find, by the names they have in the column of threats.
        outliers: one of `PROTOCOLS`, or the names of threats and of `ood`.
    """

    detector: Named[Detector]
    against: tuple[str, ...]
    ood: Mapping[str, Named[Dataset]]
    reference: Dataset | None
    outliers: str | tuple[str, ...]
    budgets: Observed

    def detection(self, judged: str, reference: Dataset | None, known: Mapping[str, Outliers]) -> Detection:
        """What judges the images of a threat, or of another data set.

        `known` holds all outliers of the study; `reference` is taken where the study names none.
        """
        column = f"suspicion/{self.detector.name}"
        if self.outliers in ("own", "others"):
            column = f"{column}/{judged}"
            own = self.outliers == "own"
            names = [n for n in (*self.against, *self.ood) if (n == judged) == own]
        else:
            names = [] if self.outliers == "none" else list(self.outliers)
        learned = tuple(known[name] for name in names if name in known)
        return Detection(self.detector, self.reference or reference, learned, column, self.budgets)


def guards(
    entries: Sequence[Mapping[str, Any]], threats: Sequence[str], catalog: Catalog, base: Path
) -> list[Guard]:
    """The detectors of a study whose threats have these names.

    Raises:
        StudyError: a name is unknown, two data sets have one name, or a key is wrong.
    """
    found: list[Guard] = []
    taken: dict[str, Named[Dataset]] = {}
    parts = list(named(entries, "detector", catalog, base))
    for index, (entry, detector) in enumerate(zip(entries, parts, strict=True)):
        where = f"[[detector]] {index + 1} ('{entry['use']}')"
        budgets = entry.get("budgets", "all")
        if budgets not in get_args(Observed):
            raise StudyError(f"{where}: `budgets` must be 'largest' or 'all', not {budgets!r}")
        against = _names(entry.get("against", list(threats)), threats, f"{where}: `against`", "threat")
        ood: dict[str, Named[Dataset]] = {}
        for one in _strangers(entry.get("ood", ()), catalog, base, where):
            name = one.name
            ood[name] = one
            if name in threats:
                raise StudyError(f"{where}: a threat is called '{name}' too: give one a `name` of its own")
            if _sliced(taken.setdefault(name, one).part) != _sliced(one.part):
                raise StudyError(f"{where}: `ood`: two data sets are called '{name}': give one a `name`")
        reference = None
        if "reference" in entry:
            inner = f"{where}: `reference`"
            reference = make(table_of(entry["reference"], inner), "dataset", catalog, base, inner)
        known = (*against, *ood)
        outliers = _learned(entry.get("outliers", "none"), known, f"{where}: `outliers`")
        if outliers == "others" and len(known) < 2:
            raise StudyError(f"{where}: `outliers` = 'others' needs two threats or sets to leave one out")
        found.append(Guard(detector, against, ood, reference, outliers, budgets))
    return found


def default_reference(dataset: Named[Dataset]) -> Dataset | None:
    """The training split of a data set that has one, at most `REFERENCE` images, as many of every class.

    None where it has none, or where the study judges the very training split.
    """
    fields = dataset.part.model_dump()
    if fields.get("split", "train") in ("train", None):
        return None
    fields |= {"split": "train", "limit": REFERENCE, "stratify": True}
    try:
        part = type(dataset.part).model_validate(fields)
        opened(part, dataset.name)
    except (ValidationError, StudyError):
        return None
    return part


def _sliced(part: Dataset) -> Any:
    """What decides which images of which data set are meant."""
    return [identity(part), {name: getattr(part, name) for name in sorted(part.passive)}]


def _strangers(entries: Any, catalog: Catalog, base: Path, where: str) -> Iterable[Named[Dataset]]:
    if not isinstance(entries, list | tuple):
        raise StudyError(f"{where}: `ood` must be a list of data sets, not {entries!r}")
    for number, entry in enumerate(entries, 1):
        inner = f"{where}: `ood` {number}"
        table = table_of(entry, inner)
        yield Named(OOD + name_of(table, inner), make(table, "dataset", catalog, base, inner))


def _learned(value: Any, known: Sequence[str], where: str) -> str | tuple[str, ...]:
    if isinstance(value, str):
        if value not in PROTOCOLS:
            raise StudyError(
                f"{where} must be one of {', '.join(PROTOCOLS)}, or a list of names, not {value!r}"
            )
        return value
    if isinstance(value, list | tuple):  # a data set may be called by its own name
        value = [f"{OOD}{one}" if one not in known and f"{OOD}{one}" in known else one for one in value]
    return _names(value, known, where, "threat or data set")


def _names(value: Any, known: Sequence[str], where: str, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise StudyError(f"{where} must be a list of names, not {value!r}")
    for name in value:
        if name not in known:
            raise StudyError(f"{where}: no {what} is called {name!r}{nearest(str(name), known)}")
    return tuple(dict.fromkeys(value))
