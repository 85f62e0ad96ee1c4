"""Which of ART's attacks are offered, by what their classes require; and how each wants to be called."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from classrob.errors import StudyError, nearest
from classrob_art.signature import Parameter, classifier_name, fixed_norm, parameters, said_of
from classrob_art.source import EVASION, Source, exported, lineage, read

_CLASSIFIER = ("art.estimators.classification.pytorch", "PyTorchClassifier")
_GRADIENTS = {"LossGradientsMixin", "ClassGradientsMixin"}
#: Their code moves every image by its own gradient, and reads nothing of the images beside it. What they draw
#: comes from NumPy's generator, never from torch's (`seclusion.Dice` relies on that).
_ROW_BY_ROW = {"FastGradientMethod", "ProjectedGradientDescent"}


@dataclass(frozen=True)
class Offer:
    """An attack of ART.

    Attributes:
        name: its class's name in kebab-case.
        classifier: what its constructor calls the classifier.
        wants: the labels that it moves away from, or target classes that it moves to.
        probabilities: it asks the model for probabilities, not for logits.
        gradients: it differentiates the model.
        row_by_row: a batch of images is treated as each would be alone, where nothing is drawn.
        norm: the norm of its `eps`, where its class fixes one.
    """

    name: str
    source: Source
    parameters: tuple[Parameter, ...]
    classifier: str
    wants: Literal["labels", "targets"]
    probabilities: bool
    gradients: bool
    row_by_row: bool
    norm: float | None

    def parameter(self, name: str) -> Parameter | None:
        """A parameter by its name."""
        return next((one for one in self.parameters if one.name == name), None)

    def default(self, name: str) -> float:
        """The default of a parameter that is a number."""
        found = self.parameter(name)
        return float(found.default) if found is not None else float("nan")

    @property
    def from_space(self) -> frozenset[str]:
        """The parameters that the space fills: the budget, and the order of a pixel norm.

        Where the radius is of a `ball` of another kind, and where the norm is a word alone, they are fields.
        """
        norm = self.parameter("norm")
        eps = {"eps"} if self.parameter("eps") and not self.parameter("ball") else set()
        return frozenset(eps | ({"norm"} if norm is not None and norm.type is not str else set()))


def kebab(name: str) -> str:
    """A class's name in kebab-case: `CarliniL2Method` is `carlini-l2-method`, `GeoDA` is `geoda`."""
    name = name.replace("PyTorch", "Pytorch").replace("TensorFlow", "Tensorflow")
    name = re.sub(r"(?<=[a-z])([A-Z]+)$", lambda match: match[1].lower(), name)
    words = re.findall(r"L(?:Inf|\d)|[A-Z]+(?=[A-Z][a-z])|[A-Z][a-z]+\d*|[A-Z]+\d*", name)
    return "-".join(words).lower()


def offers() -> list[Offer]:
    """Every attack that can be offered, by name."""
    found = [_judged(module, name) for name, module in exported().items()]
    return sorted((one for one in found if isinstance(one, Offer)), key=lambda one: one.name)


def offer_of(name: str) -> Offer:
    """An attack by its name in kebab-case; its hyphens, or a final `attack` or `method`, may be left out.

    A name that fits no class may be the initials of one: `pgd`, `fgm`.

    Raises:
        StudyError: ART is missing, has no such attack, or has one that cannot be offered; says why.
    """
    known = {kebab(one): one for one in exported()}
    key = name.replace("-", "")
    plain = {one: full.replace("-", "") for full in known for one in [full]}
    found = [full for full in known if full == name] or [
        full for full in known if key in (plain[full], re.sub("(attack|method)$", "", plain[full]))
    ]
    found = found or [full for full in known if key == "".join(word[0] for word in full.split("-"))]
    if not found:
        raise StudyError(
            f"ART has no attack '{name}'{nearest(name, known)}; 'classrob list attacks \"art/*\"' shows all"
        )
    if len(found) > 1:
        raise StudyError(f"attack 'art/{name}' is ambiguous: write one of {', '.join(found)}")
    judged = _judged(exported()[known[found[0]]], known[found[0]])
    if isinstance(judged, str):
        raise StudyError(f"attack 'art/{found[0]}' is not offered: {judged}")
    return judged


@lru_cache(maxsize=256)
def _judged(module: str, name: str) -> Offer | str:
    """The attack of a class, or why it is not offered."""
    source = read(module, name)
    family = {one.name for one in lineage(source)} if source else set()
    if source is None or "EvasionAttack" not in family:
        return "it is no evasion attack"
    found = parameters(source)
    required = _required(source)
    y = said_of(source, "generate").get("y", "")
    if why := _unfit(source, found, required, y):
        return why
    named = {one.name for one in found}
    to_labels = re.search(r"true|original|self\.targeted", y) or (
        "targeted" in named and not re.search(r"target (label|class)", y)
    )
    return Offer(
        name=kebab(name),
        source=source,
        parameters=found,
        classifier=classifier_name(source),
        wants="labels" if to_labels else "targets",
        probabilities="requires a classifier predicting probabilities" in (text := ast.unparse(source.node))
        or "requires an estimator predicting probabilities" in text,
        gradients=bool(_GRADIENTS & (set().union(*required) | _inside(source))),
        row_by_row=bool(_ROW_BY_ROW & family),
        norm=None if "norm" in named else fixed_norm(source),
    )


def _unfit(source: Source, found: tuple[Parameter, ...], required: list[set[str]], y: str) -> str:
    """Why an evasion attack cannot be offered, by what its class requires; nothing where it can."""
    generate = source.method("generate")
    methods = [one.name for one in source.node.body if isinstance(one, ast.FunctionDef)]
    named = {one.name for one in found}
    if "TensorFlow" in source.name:
        return "it is written for TensorFlow"
    if missing := [union for union in required if not union & _abilities()]:
        return f"it needs a {sorted(missing[0])[0]}, which a PyTorch classifier is not"
    if bare := [one.name for one in found if one.required]:
        return f"it needs '{bare[0]}', which has no default"
    if "attacker" in named:
        return "it builds on another attack"
    if any("frame" in name for name in named):
        return "it searches in videos"
    if generate is None or ast.unparse(generate.returns or ast.Constant(None)) != "np.ndarray":
        return "it makes a patch, not images"
    if fit := [name for name in methods if name.startswith("fit")]:
        return f"it needs training data, by `{fit[0]}`"
    if not re.search(r"label|class", y):
        return "it is guided by other images, not by labels"
    if gone := _gone(source):
        return f"it calls `np.{gone}`, which NumPy {np.__version__} does not have"
    return ""


def _gone(source: Source) -> str:
    """A name of NumPy that the class uses and the installed NumPy lacks; nothing where there is none."""
    used = (one for one in ast.walk(source.node) if isinstance(one, ast.Attribute))
    names = {one.attr for one in used if isinstance(one.value, ast.Name) and one.value.id == "np"}
    return next(iter(sorted(names - set(dir(np)))), "")


@lru_cache(maxsize=1)
def _abilities() -> set[str]:
    """What ART's PyTorch classifier inherits from."""
    source = read(*_CLASSIFIER)
    return {one.name for one in lineage(source)} if source else set()


def _required(source: Source) -> list[set[str]]:
    """What the class requires of a classifier: of every set, one."""
    stated = source.attribute("_estimator_requirements")
    elements = stated.elts if isinstance(stated, ast.Tuple | ast.List) else []
    return [{one.id for one in ast.walk(element) if isinstance(one, ast.Name)} for element in elements]


def _inside(source: Source) -> set[str]:
    """What the attacks require that its module builds on."""
    found: set[str] = set()
    for dotted in source.imports.values():
        module, _, name = dotted.rpartition(".")
        if module.startswith(EVASION) and (inner := read(module, name)):
            found |= set().union(*_required(inner))
    return found
