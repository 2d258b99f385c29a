"""kdcurate card."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from curate.cli.arguments import Json, Workspace
from curate.cli.completion import run_names
from curate.cli.output import note, print_json, print_pairs


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("card")(card)


def card(
    run: Annotated[str, typer.Argument(help="Name of a finished run.", autocompletion=run_names)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Default: README.md beside the student's weights."),
    ] = None,
    workspace: Workspace = Path("workspace"),
    json: Json = False,
) -> None:
    """Write a student's model card: teacher, manifest, shift, accuracy, licences of its images.

    Markdown with the front matter of Hugging Face's model cards.

    Example: kdcurate card RUN -w WS
    """
    from curate.modelcard import write_model_card
    from index.catalog import Catalog

    done = write_model_card(Catalog(workspace), run, output)
    if json:
        print_json(asdict(done))
        return
    print_pairs({"run": done.run, "card": done.card, "images": done.images})
    if done.kept:
        note(f"{done.card} was edited and stays as it is: --output FILE writes a new one elsewhere")
    for licence, images in done.licences.items():
        note(f"licence: {licence}, {images:,} images")
