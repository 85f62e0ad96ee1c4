"""Sheets as LaTeX tables with booktabs, intervals in small script below the numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from classrob.export.sheet import Sheet, number, sizes, span
from classrob.reading.score import Row

_HEAD = "% \\usepackage{booktabs} in the preamble; plain ASCII, for every LaTeX\n"
_ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "·": r"\textperiodcentered{}",
    "ℓ": r"$\ell$",
    "∞": r"$\infty$",
    "ε": r"$\varepsilon$",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    **{sign: f"{{{sign}}}" for sign in "[]-'`,"},  # no argument of a command, no ligature
}
#: Accents that every font of LaTeX has, by Unicode's combining ones.
_ACCENTS = dict(
    zip(
        "\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327",
        "`'^~=u.\"rHvc",
        strict=True,
    )
)


def latex(sheets: Sequence[Sheet]) -> str:
    """A `table*` a data set."""
    return _HEAD + "\n".join(_table(sheet) for sheet in sheets)


def _table(sheet: Sheet) -> str:
    width = 1 + len(sheet.columns)
    unit = ", per cent" if sheet.share else ""
    left = (
        f"; of {sheet.classes} classes, the {sheet.lowest} lowest and highest by their mean"
        if sheet.lowest
        else ""
    )
    caption = f"{escape(sheet.title)} on {escape(sheet.dataset)}{unit}, with 95\\,\\% intervals{left}."
    lines = [
        r"\begin{table*}[t]",
        r"\centering\small\setlength{\tabcolsep}{3.5pt}",
        rf"\caption{{{caption}}}",
        rf"\begin{{tabular}}{{@{{}}ll*{{{width}}}{{r}}@{{}}}}",
        r"\toprule",
    ]
    if sheet.lowest:
        low, high = sheet.lowest, len(sheet.columns) - sheet.lowest
        lines.append(
            rf"& & & \multicolumn{{{low}}}{{c}}{{lowest}} & \multicolumn{{{high}}}{{c}}{{highest}} \\"
        )
        lines.append(rf"\cmidrule(lr){{4-{3 + low}}} \cmidrule(l){{{4 + low}-{3 + low + high}}}")
    lines.append(_row(["Model", "Threat", "All", *map(escape, sheet.columns)]))
    lines.append(
        _row(["", r"{\scriptsize $n$}", *(_script(span(n).replace("–", "--")) for n in sizes(sheet))])
    )
    before = None
    for line in sheet.lines:
        lines += [r"\midrule"] if line.model != before else []
        rows = (line.overall, *line.cells)
        name = escape(line.model) if line.model != before else ""
        lines.append(_row([name, escape(line.condition), *(_value(row, sheet.share) for row in rows)]))
        lines.append(_row(["", "", *(_interval(row, sheet.share) for row in rows)]))
        before = line.model
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table*}", ""])


def _row(cells: Sequence[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _value(row: Row | None, share: bool) -> str:
    return "--" if row is None or row.value is None else _minus(number(row.value, share))


def _interval(row: Row | None, share: bool) -> str:
    if row is None or row.low is None or row.high is None:
        return ""
    return _script(f"{_minus(number(row.low, share))}--{_minus(number(row.high, share))}")


def _script(text: str) -> str:
    return rf"{{\scriptsize {text}}}" if text else ""


def _minus(text: str) -> str:
    return text.replace("-", "$-$")


def escape(text: str) -> str:
    """Text that LaTeX sets as it is; a character that its usual fonts lack is shown by its number."""
    return "".join(map(_sign, unicodedata.normalize("NFC", " ".join(text.split()))))


def _sign(char: str) -> str:
    if char in _ESCAPED:
        return _ESCAPED[char]
    base, *accents = unicodedata.normalize("NFD", char)
    if len(accents) == 1 and base.isascii() and base.isalpha() and accents[0] in _ACCENTS:
        return rf"\{_ACCENTS[accents[0]]}{{{base}}}"
    return char if char.isascii() and char.isprintable() else rf"\texttt{{U+{ord(char):04X}}}"
