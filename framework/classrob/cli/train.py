"""`classrob train`: a recipe, a network and data in; weights, curves, a study and a card out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from classrob.cli.training import Order


@click.command("train")
@click.argument("recipe")
@click.option("--data", required=True, metavar="REF", help="The data set to learn from.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, dir_okay=False), metavar="FILE.safetensors",
    help="Where the weights go; what is written beside them is called alike.",
)  # fmt: skip
@click.option(
    "--model", metavar="REF", help="The network to train [the recipe's own: cnn, or the generator vae]."
)
@click.option(
    "--set", "changes", multiple=True, metavar="PATH=VALUE",
    help="A field of the recipe (epochs=5), or of another part (model.size=32, data.path=…, test.limit=500).",
)  # fmt: skip
@click.option("--epochs", type=click.IntRange(min=1), metavar="N", help="The same as --set epochs=N.")
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="The same as --set seed=N.")
@click.option("--test", metavar="REF", help="Data to measure the model on [the data's own split 'test'].")
@click.option(
    "--hold-out", type=click.FloatRange(0, 1, max_open=True), default=0.0, metavar="SHARE",
    help="The share of every class to keep from training and to measure after each epoch.",
)  # fmt: skip
@click.option("--eval", "study", type=click.Path(path_type=Path, dir_okay=False), metavar="STUDY",
              help="Measure the model by this study, in the place of its models.")  # fmt: skip
@click.option("--no-eval", is_flag=True, help="Do not measure the model.")
@click.option("--device", default="cpu", show_default=True, metavar="NAME", help="cpu, cuda, cuda:1, mps.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Threads of the processor; one gives the same sums on any machine.")  # fmt: skip
@click.option("--checkpoints", type=click.Path(path_type=Path, file_okay=False), metavar="DIRECTORY",
              help="Where checkpoints go [beside the weights].")  # fmt: skip
@click.option("--fresh", is_flag=True, help="Start anew, whatever checkpoints there are.")
def command(recipe: str, changes: tuple[str, ...], **options: Any) -> int:
    """Train a network by RECIPE; the same command again resumes it."""
    from classrob.cli.training import Order

    order: Order = Order.read(recipe, changes, **options)
    return order.carry_out()
