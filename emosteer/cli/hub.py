"""The commands of the Hub: push, pull, list."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from emosteer.cli import printing
from emosteer.cli.options import JsonOption, LimitOption, RevisionOption, SubfolderOption, text_of
from emosteer.cli.printing import print_json, printable, say

__all__ = ["list_", "pull", "push"]


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of vectors.")],
    repository: Annotated[str, typer.Argument(help="user/name; made if it is not there.")],
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="Of a new repository.", show_default=False)
    ] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="Propose the change as a pull request.")] = False,
    revision: Annotated[
        str | None,
        typer.Option(help="Branch to commit to, made if it is not there.", callback=text_of, show_default=False),
    ] = None,
    subfolder: SubfolderOption = None,
    message: Annotated[str | None, typer.Option("--message", "-m", help="Of the commit.", callback=text_of)] = None,
    replace_card: Annotated[
        bool, typer.Option("--replace-card", help="Let the card be the one here, whatever people wrote there.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a folder of vectors on the Hub: one commit, once everything in it has been checked.

    The card that is there keeps what people wrote outside of emosteer's part. If somebody else changes the repository
    meanwhile, nothing is written.
    """
    from emosteer.vectors import storage

    files = storage.files_to_push(folder)
    left_out = sorted(path.name for path in folder.iterdir() if path.name not in files)
    pushed = storage.push(  # the client shows its own progress
        files,
        repository,
        subfolder=subfolder,
        private=private,
        create_pr=create_pr,
        revision=revision,
        commit_message=message,
        replace_card=replace_card,
    )
    if as_json:
        print_json({**asdict(pushed), "left_out": left_out})
        return
    if not pushed.changed:
        say(f"Nothing to push: {pushed.url} has all of it.")
        return
    what = f"Pull request {pushed.pull_request}" if pushed.pull_request else f"Commit {pushed.commit[:8]}"
    say(f"{what}: {pushed.url}")
    printing.out.print(Text(f"Pushed: {', '.join(pushed.files)}"))
    for names, label in ((pushed.deleted, "Taken out there"), (left_out, "Left out, as no part of these vectors")):
        if names:
            printing.out.print(Text(f"{label}: {printable(', '.join(names))}"))


def pull(
    repository: Annotated[str, typer.Argument(help="user/name.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="New folder; the Hub's cache by default.", show_default=False),
    ] = None,
    revision: RevisionOption = None,
    subfolder: SubfolderOption = None,
    as_json: JsonOption = False,
) -> None:
    """Get vectors from the Hub, all files of one commit, and check them; later they load without a connection."""
    from emosteer import hub
    from emosteer._util import layout
    from emosteer._util.atomic import require_new, require_writable, write_folder
    from emosteer.vectors import storage

    if output is not None:
        require_new(output)
        require_writable(output)
    source = hub.Repository.at(repository, revision=revision, subfolder=subfolder)
    needed = (layout.VECTORS_FILE, layout.CONFIG_FILE)
    folder = source.fetch(needed, optional=[name for name in layout.LIMITS if name not in needed])
    files = storage.files_in(folder)
    if output is not None:
        write_folder(output, files)
    where = str(output or folder)
    if as_json:
        print_json({"repository": repository, "commit": source.commit, "folder": where, "files": sorted(files)})
        return
    say(f"{repository} at commit {source.commit[:8]}: {where}")
    place = output or (folder if revision or subfolder else repository)
    say(f"Use it: emosteer steer … --vectors {place}")


def list_(
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Only vectors for this model of the Hub.", callback=text_of, show_default=False
        ),
    ] = None,
    search: Annotated[str | None, typer.Option(help="Only names with this in them.", callback=text_of)] = None,
    limit: LimitOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Find vectors on the Hub, those with most downloads first."""
    from emosteer import hub

    with printing.err.status("Asking the Hub …"):
        repositories = hub.search(base_model=model, text=search, limit=limit)
    if as_json:
        print_json({"repositories": [asdict(entry) for entry in repositories]})
        return
    table = Table("repository", "for the model", "downloads", "likes", "updated", "")
    for entry in repositories:
        access = "private" if entry.private else "gated" if entry.gated else ""
        models, updated = ", ".join(entry.base_models), entry.updated or "–"
        cells = (entry.name, models, str(entry.downloads), str(entry.likes), updated, access)
        table.add_row(*(Text(printable(cell)) for cell in cells))
    printing.out.print(table if repositories else "No vectors found.")
