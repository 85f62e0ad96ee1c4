"""What is measured at a time: a model on a data set under a threat, and who looks at the images that are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from classrob.detection import Detection, Observed, levels
from classrob.identity import digest, engine_digest, identity
from classrob.named import Named
from classrob.parts import Attack, Certifier, Dataset, Explainer, Model, Probe, Threat
from classrob.study import Study

#: What every study measures first, whether it says so or not: without it nothing can be compared.
CLEAN = "none"


@dataclass(frozen=True)
class Watch:
    """A probe that observes a condition, at its largest budget or at all."""

    probe: Named[Probe]
    budgets: Observed

    def levels(self, budgets: tuple[float, ...]) -> frozenset[int]:
        """The places of the observed budgets; 0 where there is no threat."""
        return levels(self.budgets, budgets)


@dataclass(frozen=True)
class Condition:
    """One model on one data set under one threat, searched by one attack.

    Attributes:
        watches: the probes that observe it. detections: the detectors that judge it.
        explainers: what explains its pictures.
        evaded: the detector that its attack is to evade.
        stranger: the data set whose images are judged in place of the condition's own, which none is a class of.
    """

    model: Named[Model]
    dataset: Named[Dataset]
    threat: Named[Threat]
    attack: Named[Attack]
    certifier: Named[Certifier] | None = None
    watches: tuple[Watch, ...] = ()
    explainers: tuple[Named[Explainer], ...] = ()
    detections: tuple[Detection, ...] = ()
    evaded: Detection | None = None
    stranger: Named[Dataset] | None = None

    @property
    def source(self) -> Named[Dataset]:
        """The data set whose images are judged."""
        return self.stranger or self.dataset

    @property
    def clean(self) -> bool:
        """Are these the unperturbed images?"""
        return self.threat.name == CLEAN

    @property
    def title(self) -> str:
        """How messages call it."""
        names = [self.model.name, self.dataset.name, self.threat.name]
        return " · ".join(names if self.attack.name == "none" else [*names, self.attack.name])

    def streams_key(self) -> str:
        """What the samples' random streams are keyed by: the same for every model."""
        return f"{type(self.threat.part).__qualname__}/{type(self.attack.part).__qualname__}"

    def key(self, study: Study) -> str:
        """The content address of all that decides its records, samples apart."""
        named = (self.model, self.dataset, self.threat, self.attack, self.certifier)
        parts = [one.part for one in named if one is not None]
        settings = (study.seed, study.exhaustive, study.spot_check, study.device.partition(":")[0])
        # What is observed has to be computed beside the verdicts: such shards have addresses of their own.
        watched = [(w.probe.name, identity(w.probe.part), w.budgets) for w in self.watches]
        judged = [one.address() for one in self.detections]
        if self.evaded is not None:
            judged.append(["evaded", self.evaded.address()])
        if self.stranger is not None:
            judged.append(["stranger", identity(self.stranger.part)])
        more = [extra for extra in (watched, judged) if extra]
        return digest(engine_digest(), [identity(part) for part in parts], settings, *more)


def holds_constants(condition: Condition, indices: Sequence[int]) -> bool:
    """Is this the one shard of a model and a data set that holds what probes record of the model?"""
    return condition.clean and bool(condition.watches) and indices[0] == 0
