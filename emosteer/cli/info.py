"""The command info: what is in a vector file."""

from __future__ import annotations

from pathlib import Path

from rich.table import Column, Table

from emosteer.cli import printing
from emosteer.cli.options import JsonOption, RevisionOption, SubfolderOption, VectorsArgument
from emosteer.cli.printing import cell, print_json, say, span

__all__ = ["info"]


def info(
    vectors: VectorsArgument,
    revision: RevisionOption = None,
    subfolder: SubfolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is in a vector file: emotions, ratings, doses, how it was made.

    Of a repository on the Hub only the beginning of the file is fetched. A file here is read and checked whole.
    """
    from emosteer.vectors import storage
    from emosteer.vectors.types import FALLBACK_DOSE

    with storage.opened(vectors, (), subfolder=subfolder, revision=revision) as file:
        contents, extraction = file.config.summary(), file.config.extraction
        if Path(vectors).exists():
            storage.read(file)
    if as_json:
        print_json(contents)
        return
    base = contents["base_model"]
    variant = f", {base['weights_variant']}" if base["weights_variant"] else ""
    lines = [
        f"For {base['repo_id'] or 'a local model'} ({base['model_type']}{variant}), license {contents['license']}",
        f"Layers {span(contents['layers'])} of {base['num_hidden_layers']}, width {base['hidden_size']}",
        *(
            [f"Method {extraction.get('method')}, concept set {extraction['concepts']}"]
            if extraction.get("concepts")
            else []
        ),
        *(["Imported: doses are the producer's, and what they cost is not known"] if extraction.get("sources") else []),
    ]
    for line in lines:
        say(line)
    table = Table(
        Column("emotion", no_wrap=True),
        *("valence", "arousal", "dose", "layers", "calibration", "cost", "hit rate", "stability"),
    )
    for row in contents["emotions"]:
        dose = row["dose"]
        found = row["calibration"] + (f", {dose['divergence']:.2f}" if row["calibration"] == "quick" else "")
        rest = (cell(value) for value in (dose["cost"], dose["hit_rate"], row["stability"]))
        ratings = (cell(row["valence"]), cell(row["arousal"]))
        table.add_row(row["name"], *ratings, f"{dose['dose']:.2f}", span(dose["layers"]), found, *rest)
    printing.out.print(table)
    printing.out.print(
        "Calibration: by generated answers; quick, with how far strength 1.0 moves the model, in nats a token of KL "
        f"divergence; given, but not measured; or the fallback of {FALLBACK_DOSE} mean residual norms. Cost: nats a "
        "token that strength 1.0 takes in fluency. Hit rate: share of answers in which a judge hears the emotion. "
        "Stability: cosine between directions from two halves of the texts."
    )
