"""One shard in, its records out; the only place that computes.

A worker is plain data (a study and a folder) until it works: then it brings one model at a time into
memory. It can therefore be sent to any process, which rebuilds everything from names.
"""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from classrob.catalog import Catalog
from classrob.condition import Condition, holds_constants
from classrob.costs import Costs
from classrob.detecting import Sources, strange, suspicions
from classrob.detection import Detection
from classrob.drawings import drawings
from classrob.errors import ClassrobError, NotObservable, StudyError, one_line
from classrob.identity import digest
from classrob.images import Fit
from classrob.live import ROWS, Batch, Classifier, Samples
from classrob.named import Named
from classrob.observing import observations
from classrob.parts import Model
from classrob.pictures import example
from classrob.plan import conditions
from classrob.records import Outcome, Shard
from classrob.scorer import Scorer
from classrob.space import Telling
from classrob.streams import Streams, key_of
from classrob.study import Study
from classrob.subset import opened
from classrob.sweep import Sweep
from classrob.tuning import Tuning, limited, tuned


@dataclass
class Worker:
    """Computes the shards of one study; `base` is the folder that relative paths start from."""

    study: Study
    base: Path
    _conditions: tuple[Condition, ...] | None = field(default=None, repr=False)
    _samples: dict[str, Samples] = field(default_factory=dict, repr=False)
    _model: tuple[str, Classifier] | None = field(default=None, repr=False)
    _tunings: dict[str, Tuning] = field(default_factory=dict, repr=False)
    _scorers: dict[str, Scorer | None] = field(default_factory=dict, repr=False)
    _sources: dict[str, Sources] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {"study": self.study, "base": self.base}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def conditions(self) -> tuple[Condition, ...]:
        """The study's conditions, from the parts installed in this process."""
        if self._conditions is None:
            self._conditions = conditions(self.study, Catalog.installed(), self.base)
        return self._conditions

    def samples(self, condition: Condition) -> Samples:
        """The condition's data set, opened once."""
        name = condition.dataset.name
        if name not in self._samples:
            self._samples[name] = opened(condition.dataset.part, name)
        return self._samples[name]

    def classifier(self, model: Named[Model]) -> Classifier:
        """The model in memory; the one before it is let go."""
        if self._model is None or self._model[0] != model.name:
            self._model = None
            self._scorers.clear()
            self._sources.clear()
            self._model = (model.name, load(model, self.study))
        return self._model[1]

    def work(self, shard: Shard) -> Outcome:
        """Compute a shard; an error becomes an outcome that says what, where and why."""
        begin = time.perf_counter()
        title = f"condition {shard.condition + 1}"
        try:
            condition = self.conditions()[shard.condition]
            title = condition.title
            return self._compute(shard, condition, begin)
        except Exception as cause:  # whatever a part raises ends its shard, not the run
            trace = None if isinstance(cause, ClassrobError) else traceback.format_exc()
            error = f"{title}, samples {shard.indices[0]}–{shard.indices[-1]}: {one_line(cause)}"
            return Outcome(shard, error=error, trace=trace, seconds=time.perf_counter() - begin)

    def _compute(self, shard: Shard, condition: Condition, begin: float) -> Outcome:
        classifier = self.classifier(condition.model)
        samples, fit = self._source(condition, classifier)
        batch, failures = samples.read(shard.indices, fit)
        if batch is None:
            return Outcome(shard, failures=failures, seconds=time.perf_counter() - begin)
        batch = batch.to(self.study.device)
        with classifier.frozen():
            tuning = self._tuning(condition.model.name, classifier, batch)
            tuning.onto(classifier)
            with limited(min(tuning.threads, torch.get_num_threads())):
                outcome = self._fitting(shard, condition, classifier, batch)
        how = self._tunings[condition.model.name].as_dict()
        return replace(outcome, failures=failures, how=how, seconds=time.perf_counter() - begin)

    def _tuning(self, name: str, classifier: Classifier, batch: Batch) -> Tuning:
        """How the model runs fastest here, found once."""
        if name not in self._tunings:
            self._tunings[name] = tuned(classifier, batch.images, self.study.batch_size)
        return self._tunings[name]

    def _fitting(self, shard: Shard, condition: Condition, classifier: Classifier, batch: Batch) -> Outcome:
        """Measure in batches that fit into memory: where one does not, the shard starts again with half."""
        while True:
            try:
                return self._measure(shard, condition, classifier, batch)
            except torch.OutOfMemoryError:
                if classifier.batch_size <= ROWS:
                    raise
                name = condition.model.name
                self._tunings[name] = self._tunings[name].halved()
                self._tunings[name].onto(classifier)
            if self.study.device.startswith("cuda"):
                torch.cuda.empty_cache()

    def _source(self, condition: Condition, classifier: Classifier) -> tuple[Samples, Fit]:
        """The samples whose images are judged, and how the model wants them."""
        samples = self.samples(condition)
        if condition.stranger is None:
            return samples, classifier.fit
        name = condition.stranger.name
        if name not in self._samples:
            self._samples[name] = opened(condition.stranger.part, name)
        return Sources(samples, classifier, self.study.seed).strangers(self._samples[name])

    def scorers(self, condition: Condition, classifier: Classifier) -> list[tuple[Detection, Scorer]]:
        """The detectors that judge a condition, each fitted once for a model and a data set.

        One that finds nothing to work with in the model is left out: the preflight has said so.
        """
        name = condition.dataset.name
        if name not in self._sources:
            self._sources = {name: Sources(self.samples(condition), classifier, self.study.seed)}
        sources = self._sources[name]
        found: list[tuple[Detection, Scorer]] = []
        for one in condition.detections:
            key = digest(name, one.address())
            if key not in self._scorers:
                try:
                    self._scorers[key] = sources.fit(one, name)
                except NotObservable:
                    self._scorers[key] = None
            if (scorer := self._scorers[key]) is not None:
                found.append((one, scorer))
        return found

    def _measure(self, shard: Shard, condition: Condition, classifier: Classifier, batch: Batch) -> Outcome:
        scorers, costs = self.scorers(condition, classifier), Costs()
        if condition.stranger is not None:
            records, found = strange(condition, classifier, batch, scorers, costs)
            return Outcome(shard, records, observations=found, costs=costs.all())
        threat, attack = condition.threat.part, condition.attack
        source = type(condition.dataset.part).__qualname__
        streams = Streams.keyed(self.study.seed, source, batch.ids, condition.streams_key())
        streams = streams.to(self.study.device)
        # An attack that draws from torch's own generator, against the law, at least repeats itself.
        torch.manual_seed(key_of(shard.key) & 0x7FFFFFFF)
        wanted = {self.samples(condition).id(i) for i in shard.pictures}
        space = threat.open(batch, classifier, streams.fork("threat"))
        lookers = (*condition.watches, *condition.detections)
        watch = {level for one in lookers for level in one.levels(threat.budgets)}
        if isinstance(space, Telling):
            watch.update(range(len(threat.budgets)))
        sweep = Sweep(
            classifier,
            attack.part,
            attack.name,
            space,
            batch,
            streams,
            threat.budgets,
            nested=threat.nested and attack.part.seeks_errors and condition.evaded is None,
            exhaustive=self.study.exhaustive,
            spot_check=self.study.spot_check,
            keep=frozenset(i for i, sample in enumerate(batch.ids) if sample in wanted),
            watch=frozenset(watch),
            certifier=None if condition.certifier is None else condition.certifier.part,
        )
        evaded = [scorer for one, scorer in scorers if one == condition.evaded]
        if condition.evaded is not None and not evaded:
            raise StudyError(f"detector '{condition.evaded.detector.name}' does not suit the model")
        with classifier.facing(evaded[0] if evaded else None):
            ledger = sweep.run()
        outcome = Outcome(
            shard,
            ledger.records(batch.ids),
            examples=[example(sweep, ledger, row) for row in sorted(ledger.kept)],
            drawings=list(drawings(sweep, ledger, condition.explainers)),
            trials=ledger.trials(batch.ids),
            observations=[
                *observations(sweep, ledger, condition.watches, holds_constants(condition, shard.indices)),
                *suspicions(sweep, ledger, scorers, costs),
            ],
        )
        return replace(outcome, costs=costs.all())


def load(model: Named[Model], study: Study) -> Classifier:
    """The model's classifier under its name, on the study's device.

    Raises:
        StudyError: it cannot be loaded; one line that names the model.
    """
    if study.device.startswith("cuda") and not torch.cuda.is_available():
        raise StudyError(f"device '{study.device}': torch sees no GPU here; take device = \"cpu\"")
    try:
        classifier = model.part.load(study.device)
    except ClassrobError as error:
        raise type(error)(f"model '{model.name}': {error}") from error.__cause__
    classifier.name, classifier.device = model.name, study.device
    classifier.batch_size = study.batch_size or classifier.batch_size
    return classifier
