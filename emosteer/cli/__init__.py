"""The command line. Each file is one command, or the commands of one noun; this one puts them together."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import Any, NoReturn

import typer

from emosteer.cli import (
    calibrate,
    demo,
    export,
    extract,
    hub,
    import_,
    info,
    quickstart,
    read,
    serve,
    steer,
    streams,
    transfer,
)
from emosteer.cli import eval as eval_
from emosteer.cli.printing import note
from emosteer.errors import EmosteerError, EmosteerWarning

__all__ = ["app", "main"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Emotional tone for any Hugging Face language model, at inference, without training.",
)
for command in (
    quickstart.quickstart,
    steer.steer,
    read.read,
    extract.extract,
    calibrate.calibrate,
    info.info,
    transfer.transfer,
    hub.push,
    hub.pull,
    demo.demo,
    serve.serve,
):
    app.command()(command)
app.command("list")(hub.list_)
app.command("import")(import_.import_)
app.add_typer(eval_.app, name="eval")
app.add_typer(export.app, name="export")


def main() -> NoReturn:
    """Run the command line. An expected error is one line on standard error, and exit status 1."""
    streams.prepare()
    warnings.showwarning = _show_warning  # type: ignore[assignment]  # takes the optional arguments as *_
    _quieten()
    try:
        try:
            app()
        finally:
            streams.flush()
    except EmosteerError as error:
        note("Error", error, "bold red")
        sys.exit(1)
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.exit(1)
    except OSError as error:  # a name that is too long, a disk that is full
        where = f"{error.filename}: " if error.filename else ""
        note("Error", f"{where}{error.strerror or error}"[:500], "bold red")
        sys.exit(1)
    except KeyboardInterrupt:  # before or after typer's own handling of it
        sys.exit(130)
    sys.exit(0)


def _quieten() -> None:
    """Silence the reports of the libraries below, and their progress bars where there is no terminal."""
    if not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported, by transformers for one
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it repeats what servers say as it stands
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # read when transformers is imported, which takes its time
    if "transformers" in sys.modules:
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        if not sys.stderr.isatty():
            transformers_logging.disable_progress_bar()


def _show_warning(message: Warning | str, category: type[Warning], *_: Any) -> None:
    if issubclass(category, EmosteerWarning):
        note("Warning", message, "bold yellow")
