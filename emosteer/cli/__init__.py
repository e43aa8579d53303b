"""The command line: parse, call, print."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any, NoReturn

import typer
from rich.text import Text

from emosteer.cli import printing
from emosteer.cli.building import calibrate, extract, info
from emosteer.cli.exporting import export_baked, export_endpoint, export_gguf
from emosteer.cli.importing import import_
from emosteer.cli.measuring import eval_alignment, eval_steering
from emosteer.cli.printing import printable
from emosteer.cli.sharing import list_, pull, push
from emosteer.cli.showing import demo
from emosteer.cli.speaking import quickstart, read, steer
from emosteer.cli.transferring import transfer
from emosteer.errors import EmosteerError, EmosteerWarning

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Emotional tone for any Hugging Face language model, at inference, without training.",
)
for command in (quickstart, steer, read, extract, calibrate, info, transfer, push, pull, demo):
    app.command()(command)
app.command("list")(list_)
app.command("import")(import_)

measures = typer.Typer(no_args_is_help=True, help="Measure what vectors do.")
measures.command("steering")(eval_steering)
measures.command("alignment")(eval_alignment)
app.add_typer(measures, name="eval")

exports = typer.Typer(
    no_args_is_help=True, help="Take a tone out of emosteer: to llama.cpp, an endpoint, a plain model."
)
exports.command("gguf")(export_gguf)
exports.command("endpoint")(export_endpoint)
exports.command("baked")(export_baked)
app.add_typer(exports, name="export")


def main() -> NoReturn:
    """Run the command line; whatever goes wrong for a known reason is one line on standard error."""
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that cannot show a character
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # takes the optional arguments as *_
    _quieten()
    try:
        app()
    except EmosteerError as error:
        printing.err.print(Text.assemble(("Error: ", "bold red"), printable(str(error))), soft_wrap=True)
        sys.exit(1)
    except OSError as error:  # a name that is too long, a disk that is full
        where = f"{error.filename}: " if error.filename else ""
        printing.err.print(Text(f"Error: {printable(f'{where}{error.strerror or error}'[:500])}"), soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:  # before or after typer's own handling of it
        sys.exit(130)
    sys.exit(0)


def _quieten() -> None:
    """The libraries below report to people who debug them; progress is for terminals only."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported, by transformers for one
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it repeats what servers say as it stands
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # read when transformers is imported, which takes its time
    if "transformers" in sys.modules:
        from transformers.utils import logging as of_transformers

        of_transformers.set_verbosity_error()
        if not sys.stderr.isatty():
            of_transformers.disable_progress_bar()


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    if issubclass(category, EmosteerWarning):
        printing.err.print(Text.assemble(("Warning: ", "bold yellow"), printable(str(message))), soft_wrap=True)
