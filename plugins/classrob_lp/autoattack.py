"""AutoAttack: an ensemble without parameters, each attack with the reference's number of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, final

from pydantic import Field

from classrob.ensemble import Ensemble, Member
from classrob.parts import Need
from classrob.space import Space
from classrob_lp.apgd import ApgdCE, ApgdDLR, ApgdTargeted
from classrob_lp.fab import FAB
from classrob_lp.l1 import L1Ball
from classrob_lp.square import Square

Version = Literal["standard", "plus", "rand"]
Precision = Literal["float32", "bfloat16"]

#: What the attacks of a suite look at.
NEEDS: frozenset[Need] = frozenset({"labels", "logits", "gradients", "pixels"})

#: The reference counts its first look at the image beside its 5,000 queries.
QUERIES = 5001

#: 100 moves of Auto-PGD; in the ℓ1 ball two gradients more, from which a row moves into a smaller ball.
STEPS, SPARSE_STEPS = 100, 102


def suite(version: Version, classes: int, space: Space, precision: Precision = "float32") -> list[Member]:
    """The attacks of a version, as its authors define it; at most one target less than there are classes.

    `standard` in the ℓ1 ball has five restarts of the first attack and five targets of the second. With
    fewer than four classes the targeted ratio does not exist and the margin takes its place (with fewer
    than three, also that of the untargeted one): then the member's name says so.
    """
    sparse = isinstance(space, L1Ball)
    ratio = "apgd-dlr" if classes > 2 else "apgd-dlr (margin)"
    targeted = "apgd-targeted" if classes > 3 else "apgd-targeted (margin)"
    common: dict[str, Any] = {"steps": SPARSE_STEPS if sparse else STEPS, "precision": precision}
    match version:
        case "standard":
            return [
                Member("apgd-ce", ApgdCE(restarts=5 if sparse else 1, **common)),
                Member(targeted, ApgdTargeted(targets=5 if sparse else 9, **common)),
                Member("fab-targeted", FAB(targets=9, precision=precision)),
                Member("square", Square(steps=QUERIES, precision=precision)),
            ]
        case "plus":
            return [
                Member("apgd-ce", ApgdCE(restarts=5, **common)),
                Member(ratio, ApgdDLR(restarts=5, **common)),
                Member("fab", FAB(restarts=5, precision=precision)),
                Member("square", Square(steps=QUERIES, precision=precision)),
                Member(targeted, ApgdTargeted(targets=9, **common)),
                Member("fab-targeted", FAB(targets=9, precision=precision)),
            ]
        case "rand":
            return [
                Member("apgd-ce", ApgdCE(averaged=20, **common)),
                Member(ratio, ApgdDLR(averaged=20, **common)),
            ]


@final
class AutoAttack(Ensemble):
    """AutoAttack (Croce and Hein, 2020) with the reference's evaluations, for any number of classes."""

    needs = NEEDS
    version: Version = Field(
        default="standard", description="'plus' also attacks untargeted; 'rand' is for models that draw"
    )

    def attacks(self, classes: int, space: Space) -> Sequence[Member]:
        """The version's attacks, in float32."""
        return suite(self.version, classes, space)


@final
class AutoAttackBfloat16(Ensemble):
    """The attacks of AutoAttack that search in bfloat16; what they find is judged in float32."""

    needs = NEEDS
    version: Version = Field(default="standard", description="as in 'autoattack'")

    def attacks(self, classes: int, space: Space) -> Sequence[Member]:
        """The version's attacks, in bfloat16."""
        return suite(self.version, classes, space, "bfloat16")
