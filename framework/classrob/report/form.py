"""Numbers and names as the report writes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from classrob.reading.score import Row

#: A narrow space that does not break, between a number and its unit.
THIN = "\u202f"
#: A dash after which no line may break.
DASH = "–\u2060"


@dataclass(frozen=True)
class Unit:
    """How a metric is called on the page, what it says, and whether it is a share."""

    title: str
    note: str
    share: bool = True


#: The metrics that the report has words for; any other is shown by its name, as a plain number.
METRICS = {
    "accuracy": Unit("Accuracy", "share of images classified right"),
    "certified-accuracy": Unit(
        "Certified",
        "share of images proven to withstand every attack; the truth lies between it and the accuracy",
    ),
    "worst-class-accuracy": Unit(
        "Worst class", "the lowest class accuracy; its interval allows for having picked the class afterwards"
    ),
    "class-gap": Unit("Class gap", "best minus worst class accuracy; its interval allows for noise"),
    "flip-rate": Unit("Flip rate", "share of images predicted otherwise than their unperturbed image"),
    "cfps": Unit(
        "CFPS",
        "Class False Positive Score: the share of all misclassified images that is taken for this class",
    ),
    "cfns": Unit(
        "CFNS", "Class False Negative Score: the share of all misclassified images that is of this class"
    ),
    "class-difference": Unit(
        "Against others", "accuracy minus that of all images of other classes", share=False
    ),
    "weak-classes": Unit("Weak classes", "how many are below the others by more than chance", share=False),
    "strong-classes": Unit(
        "Strong classes", "how many are above the others by more than chance", share=False
    ),
    "class-deviation": Unit("Deviation", "standard deviation of the classes' accuracies", share=False),
    "class-gini": Unit(
        "Gini", "Gini coefficient of the classes' accuracies: 0 where all are alike", share=False
    ),
    "cfps-agreement": Unit(
        "CFPS against accuracy",
        "rank correlation over classes; below 0 weak classes are those that errors land in",
        share=False,
    ),
    "implied-error": Unit("Implied error", "share of spot-checked implied verdicts that was refuted"),
    "ara": Unit(
        "ARA",
        "Accuracy-Robustness Area: accuracy beyond a guess at random, summed over all budgets up to the "
        "largest, in the unit of the budget",
        share=False,
    ),
    "within-scatter": Unit("Within scatter", "variance of the features within the class", share=False),
    "between-scatter": Unit(
        "Between scatter", "squared distance of the class's centroid from the mean of all", share=False
    ),
    "silhouette": Unit("Silhouette", "1: apart from other classes; below 0: among them", share=False),
    "centroid-margin": Unit(
        "Centroid margin",
        "how much nearer its features are to their own centroid than to another",
        share=False,
    ),
    "knn-purity": Unit("kNN purity", "share of the nearest neighbours, by features, that is of the class"),
    "weight-alignment": Unit(
        "Weight alignment", "cosine between the last layer's weights and the class's centroid", share=False
    ),
    "drift": Unit(
        "Drift",
        "how far the attack moves features, by the distance to the nearest other centroid",
        share=False,
    ),
    "mean-distance": Unit(
        "Mean distance",
        "mean of the smallest distances found; an image that stands counts with the largest budget",
        share=False,
    ),
    "distance-median": Unit(
        "Median distance",
        "half of the images are misclassified within it; over all budgets, “beyond” where it lies beyond "
        "the largest",
        share=False,
    ),
}

#: Families of metrics that have no place on the page: it draws confusions, and one distance says enough.
LEFT_OUT = (
    "flow-to/",
    "targeted-flow-to/",
    "distance-q",
    "robustness-bias-",
    "class-difference-p",
    "samples-needed",
    "group-bias/",
    "centroid-distance-to/",
    "drift-to/",
)


@dataclass(frozen=True)
class Shown:
    """A score ready for the page; `low`, `value` and `high` are None where no bar can be drawn."""

    text: str
    interval: str
    n: int
    value: float | None = None
    low: float | None = None
    high: float | None = None


#: Stands where no score is.
NOTHING = Shown("–", "", 0)


def unit(metric: str) -> Unit:
    """A metric's words."""
    return METRICS.get(metric) or Unit(metric, "", share=False)


def shown(row: Row | None) -> Shown:
    """A row's number as text, its interval, and its position on a scale from 0 to 1."""
    if row is None:
        return NOTHING
    if row.value is None and row.metric.startswith("distance-"):
        return Shown("beyond", _ends(row), row.n)
    if row.value is None:
        return Shown("no errors" if row.metric in ("cfps", "cfns") and row.n == 0 else "–", "", row.n)
    if not unit(row.metric).share:
        return Shown(plain(row.value), _ends(row), row.n)
    return Shown(percent(row.value), between(row.low, row.high), row.n, row.value, row.low, row.high)


def area(value: float | None, low: float | None, high: float | None, n: int) -> Shown:
    """An area under a curve, 0 to 1, in three digits; a dash where there is nothing to tell apart."""
    if value is None:
        return Shown("–", "", n)
    ends = "" if low is None or high is None else f"{low:.3f}{DASH}{high:.3f}"
    return Shown(f"{value:.3f}", ends, n, value, low, high)


def _ends(row: Row) -> str:
    """An interval of plain numbers, `0.05 to 0.08`; `0.05 or more` where its upper end is not known."""
    if row.low is None:
        return ""
    return f"{plain(row.low)} or more" if row.high is None else f"{plain(row.low)} to {plain(row.high)}"


def plain(value: float) -> str:
    """A number with three digits that say something, or without a fraction: `−0.0267`, `12,345`."""
    text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value + 0.0:.3g}"
    return f"−{text[1:]}" if text.startswith("-") else text


def percent(value: float | None, digits: int = 1) -> str:
    """A share as per cent; neither 0 nor 100 unless it is exactly that."""
    if value is None:
        return "–"
    if value in (0.0, 1.0, -1.0):
        return f"{value:.0%}".replace("%", f"{THIN}%")
    step = 10.0**-digits
    number = 100 * value
    if 0 < number < step / 2:
        return f"<{step:g}{THIN}%"
    if 100 - step / 2 < number < 100:
        return f">{100 - step:.{digits}f}{THIN}%"
    return f"{number:.{digits}f}{THIN}%"


def between(low: float | None, high: float | None) -> str:
    """An interval of shares, `18–47 %`; one more digit where it is narrow."""
    if low is None or high is None:
        return ""
    digits = 0 if high - low >= 0.1 else 1
    ends = [f"{100 * end:.0f}" if end in (0.0, 1.0) else f"{100 * end:.{digits}f}" for end in (low, high)]
    return f"{ends[0]}{DASH}{ends[1]}{THIN}%"


def budget(value: float) -> str:
    """A budget in few characters: `0.1`, `8/255`, `3`."""
    text = f"{value:.4g}"
    if abs(float(text) - value) <= 1e-9 * max(1.0, abs(value)):
        return text
    pixels = value * 255
    if abs(pixels - round(pixels)) < 1e-6 and 0 < pixels <= 64:
        return f"{round(pixels)}/255"
    simple = Fraction(value).limit_denominator(256)
    return f"{simple.numerator}/{simple.denominator}" if abs(float(simple) - value) < 1e-9 else text


def plural(n: int, noun: str, many: str = "") -> str:
    """`1 image`, `1,200 images`."""
    return f"{n:,} {noun if n == 1 else many or noun + 's'}"


def clip(name: str, length: int = 48) -> str:
    """A name cut to a length, with an ellipsis where something is gone."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def quoted(name: str | None) -> str:
    """A name inside a sentence."""
    return f"“{clip(name or '')}”"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names as a list within a sentence, `a, b and 4 more`."""
    some = [quoted(name) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(some)} and {len(names) - most:,} more"
    return f"{', '.join(some[:-1])} and {some[-1]}" if len(some) > 1 else "".join(some)
