"""What has to be looked at in a batch's backward pass: planned once for a module and a shape of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from classrob_detectors.norms.graph import Graph
from classrob_detectors.norms.paths import Meeting, consumers_in, meetings
from classrob_detectors.norms.probe import probe
from classrob_detectors.norms.rules import RULES
from classrob_detectors.norms.slow import Loss


@dataclass(frozen=True)
class Plan:
    """For every parameter in the graph the operations that it meets samples in; None where no rule covers one.

    `names` says what the rules of each are called. `last` are those of these operations that no other of them
    lies below: the backward pass ends there.
    """

    signature: tuple[object, ...]
    met: Mapping[int, Sequence[Meeting] | None]
    names: Mapping[int, str]
    last: frozenset[int]

    @property
    def nodes(self) -> Mapping[int, list[tuple[int, Meeting]]]:
        """By node: the parameters that meet samples there."""
        found: dict[int, list[tuple[int, Meeting]]] = {}
        for parameter, places in self.met.items():
            for meeting in places or ():
                found.setdefault(meeting.node, []).append((parameter, meeting))
        return found


def planned(
    module: nn.Module, images: Tensor, loss: Loss, parameters: Sequence[Tensor], graph: Graph
) -> Plan | None:
    """The plan for a batch whose graph is given; None where the samples of the module cannot be told apart."""
    found = probe(module, images, loss, parameters)
    if found is None or found.signature != graph.signature:
        return None
    consumers = consumers_in(graph)
    met: dict[int, Sequence[Meeting] | None] = {}
    for parameter, leaf in graph.leaves(parameters).items():
        places = meetings(graph, consumers, leaf, found.places)
        covered = places and all(graph.nodes[place.node].name() in RULES for place in places)
        met[parameter] = places if covered else None
    wanted = {place.node for places in met.values() for place in places or ()}
    above: set[int] = set()  # nodes that something wanted lies below
    for node, edges in enumerate(graph.edges):  # what lies below comes first
        if any(edge is not None and (edge[0] in wanted or edge[0] in above) for edge in edges):
            above.add(node)
    names = {
        parameter: " + ".join(RULES[graph.nodes[place.node].name()][0] for place in places)
        for parameter, places in met.items()
        if places is not None
    }
    return Plan(graph.signature, met, names, frozenset(wanted - above))
