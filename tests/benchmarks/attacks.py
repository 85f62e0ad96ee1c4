"""classrob's attacks against those of other tools, on the same model, images, budgets and steps in one process.

Each command prints one JSON object a line; `table` prints such lines as Markdown. A tool that cannot be imported
is left out, and a line says so. Where AutoAttack's reference lies in a folder, PYTHONPATH has to name it.
"""

from __future__ import annotations

import argparse
from importlib.metadata import PackageNotFoundError, version

import torch
from measures import compiled, curve, end_to_end, floor, suites, tables
from measures.clock import CLOCKS, say

from classrob.environment import environment

PARTS = {
    "floor": (floor, "a gradient in the search loop over bare forward and backward passes"),
    "pgd": (end_to_end, "one attack from images to robust accuracy, against every peer"),
    "autoattack": (suites, "AutoAttack standard against its authors' code, image by image"),
    "curve": (curve, "sixteen budgets against one of the reference"),
    "compile": (compiled, "what torch.compile costs and saves"),
    "table": (tables, "print rows as Markdown"),
}

#: What may be compared with.
PACKAGES = ("torchattacks", "foolbox", "adversarial-robustness-toolbox")

#: What a processor has for bfloat16.
BFLOAT16 = ("avx512_bf16", "amx_bf16")


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="part", required=True)
    for name, (module, summary) in PARTS.items():
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        if module is not tables:
            command.add_argument("--threads", type=int, default=1)
            command.add_argument("--clock", choices=CLOCKS, default="wall")
        module.options(command)
    arguments = parser.parse_args()
    if arguments.part != "table":
        torch.set_num_threads(arguments.threads)
        arguments.now = CLOCKS[arguments.clock]
        say("environment", **machine())
    PARTS[arguments.part][0].measure(arguments)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    found = environment()
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    able = torch.cpu.get_capabilities()
    found["instructions"] = torch.backends.cpu.get_cpu_capability()
    found["bfloat16"] = ", ".join(name for name in BFLOAT16 if able.get(name)) or "emulated"
    return found


if __name__ == "__main__":
    main()
