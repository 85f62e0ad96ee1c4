"""The model and the images that every tool gets, and classrob at work on them."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from real import setting
from torch import Tensor

from classrob.catalog import Catalog
from classrob.ledger import Ledger
from classrob.live import Batch, Classifier
from classrob.plan import conditions
from classrob.reading.results import STORE
from classrob.run import run
from classrob.streams import Streams
from classrob.study import make_study
from classrob.subset import opened
from classrob.sweep import Sweep
from classrob.tuning import Tuning, limited, tuned
from classrob.worker import load


@dataclass
class Subject:
    """A model as a run loads it, and the first images of its data set."""

    which: str
    classifier: Classifier
    batch: Batch

    @classmethod
    def of(cls, which: str, limit: int) -> Subject:
        """One of the settings of real.py."""
        model, data = setting(which)
        study = make_study({"name": "benchmark", "model": [model], "dataset": [{**data, "limit": limit}]})
        condition = conditions(study, Catalog.installed(), Path())[0]
        classifier = load(condition.model, study)
        samples = opened(condition.dataset.part, condition.dataset.name)
        batch, _ = samples.read(range(limit), classifier.fit)
        assert batch is not None, "no image can be read"
        return cls(which, classifier, batch)

    @cached_property
    def tuning(self) -> Tuning:
        """How the model runs fastest, found once, as in a run."""
        with self.classifier.frozen():
            found = tuned(self.classifier, self.batch.images, None)
        found.onto(self.classifier)
        return found

    def widest(self, n: int) -> Batch:
        """The n images with the widest margins; images repeat where there are fewer."""
        with self.classifier.frozen(), torch.no_grad():
            logits = self.classifier(self.batch.images)
        rest = logits.scatter(1, self.batch.labels[:, None], -torch.inf).amax(1)
        margin = logits.gather(1, self.batch.labels[:, None])[:, 0] - rest
        order = margin.argsort(descending=True)
        order = order[: max(1, min(n, int((margin > 0).sum()) // 2))]
        return self.batch.select(order.repeat(-(-n // len(order)))[:n])

    def sweep(
        self,
        attack: Any,
        name: str,
        budgets: tuple[float, ...],
        seed: int = 0,
        certifier: str | None = None,
    ) -> Ledger:
        """What a run does with a shard: prediction, search and verdicts, threat and streams included."""
        threat = Catalog.installed().make("threat", "linf", {"budgets": budgets})
        proof = certifier and Catalog.installed().make("certifier", certifier, {})
        with self.classifier.frozen(), limited(min(self.tuning.threads, torch.get_num_threads())):
            self.tuning.onto(self.classifier)
            streams = Streams.keyed(seed, self.which, self.batch.ids, name)
            space = threat.open(self.batch, self.classifier, streams.fork("threat"))
            sweep = Sweep(self.classifier, attack, name, space, self.batch, streams, threat.budgets)
            return replace(sweep, spot_check=0.02, certifier=proof or None).run()

    def run(
        self,
        attack: dict[str, Any],
        budgets: tuple[float, ...],
        workers: int = 1,
        seed: int = 0,
        certifier: str | None = None,
    ) -> Tensor:
        """A whole run from nothing: model, data, tuning, clean images, store; bool [budgets, n], which stand.

        Each of several processes gets one share of the images.
        """
        import sqlite3

        model, data = setting(self.which)
        threat: dict[str, Any] = {"use": "linf", "budgets": list(budgets), "attack": attack}
        if certifier is not None:
            threat["certifier"] = certifier
        study = make_study(
            {
                "name": "benchmark",
                "seed": seed,
                "pictures": 0,
                "shard_size": -(-len(self.batch) // workers),
                "model": [model],
                "dataset": [{**data, "limit": len(self.batch)}],
                "threat": [threat],
            }
        )
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "alone" / "run"
            failed = run(study, Path(folder), out, options={"workers": workers})
            assert not failed, "shards failed"
            with sqlite3.connect(out / STORE) as db:
                query = "SELECT sample, budget, correct FROM judgement WHERE threat = 'linf'"
                correct = {(sample, budget): bool(is_so) for sample, budget, is_so in db.execute(query)}
        return torch.tensor([[correct[sample, budget] for sample in self.batch.ids] for budget in budgets])


def stands(ledger: Ledger, level: int = 0) -> Tensor:
    """bool [n], which samples stand at a level."""
    return torch.from_numpy(ledger.predicted[:, level]) == ledger.labels
