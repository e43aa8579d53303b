"""Putting evaluation reports into a folder of vectors: a summary into the file, the rest beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer._util import strict_json
from emosteer._util.atomic import write_folder
from emosteer._util.layout import CARD_FILE, CONFIG_FILE, LIMITS, VECTORS_FILE
from emosteer._util.own_files import require_own
from emosteer.errors import FormatError, InputError
from emosteer.vectors import card, measured, storage
from emosteer.vectors import format as fmt

if TYPE_CHECKING:
    from emosteer.vectors.config import Config

__all__ = ["Record", "put"]


@dataclass(frozen=True)
class Record:
    """A report with the figures that stand beside it.

    Args:
        kind: `"steering"` or `"alignment"`.
        summary: What goes into `measured`.
        files: Name → content of what goes beside the vectors.
    """

    kind: str
    summary: measured.SteeringSummary | measured.AlignmentSummary
    files: dict[str, bytes]

    @classmethod
    def load(cls, file: Path) -> Record:
        """Read `steering.json` or `alignment.json`, as `emosteer eval` writes them, and the figures in its folder.

        Args:
            file: The report.

        Raises:
            InputError: It cannot be read, or is no such report.
        """
        kind = file.name.removesuffix(".json")
        if kind not in measured.SUMMARIES:
            raise InputError(
                f"{file} is no report on vectors.", "Name a steering.json or an alignment.json of `emosteer eval`."
            )
        try:
            if file.stat().st_size > LIMITS[file.name]:
                raise ValueError(f"it is larger than {LIMITS[file.name] // 2**20} MiB")
            report = measured.rounded(strict_json.loads(file.read_bytes()))
            summary = measured.SUMMARIES[kind].of(report)
            if measured.known(type(summary), measured.to_json(summary)) != summary:
                raise ValueError("a number or a name in it is not one")
            beside = {name: file.parent / name for name in card.figures_of(summary)}
            figures = {name: path.read_bytes() for name, path in beside.items() if path.is_file()}
        except (AttributeError, IndexError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
            why = repr(error) if isinstance(error, KeyError | IndexError) else str(error)
            raise InputError(
                f"{file} cannot be read as a report of `emosteer eval {kind}` ({why[:200]}).",
                f"Run `emosteer eval {kind}` again to have one.",
            ) from error
        return cls(kind, summary, {file.name: strict_json.canonical(report).encode() + b"\n", **figures})

    @property
    def measured(self) -> dict[str, Any]:
        """What stands in a file: `{kind: summary}`."""
        return {self.kind: measured.to_json(self.summary)}

    def check(self, config: Config) -> None:
        """Check that it can be of the vectors that have this config.

        Raises:
            InputError: It is of another model or of other emotions.
        """
        summary = self.summary
        if isinstance(summary, measured.SteeringSummary):
            heard = {emotion for way in summary.ways for emotion in way.emotions}
            fits = heard <= set(config.emotions)
        else:
            fits = all(0 <= shape.layer < config.base_model.num_hidden_layers for shape in summary.geometry)
        if not fits:
            model = config.base_model.repo_id or config.base_model.model_type
            raise InputError(
                f"{self.kind}.json is not of these vectors, {len(config.emotions)} emotions for {model}.",
                "Measure them with `emosteer eval`.",
            )


def put(folder: Path, records: Sequence[Record]) -> None:
    """Make a folder of vectors hold what was measured: in its file, in its card and beside it.

    The tensors stay as they are, byte for byte. All files are written, or none.

    Args:
        folder: Of the vectors.
        records: At most one of each kind; others that the file has stay.

    Raises:
        FormatError: The vectors cannot be read.
        InputError: A record is not of these vectors, the existing card cannot be read, a report there is not
            emosteer's, or the folder cannot be written.
    """
    import safetensors.torch

    with fmt.VectorFile.open(folder) as file:
        config, _ = storage.read(file)
    for record in records:
        record.check(config)
    beside = {name: content for record in records for name, content in record.files.items()}
    require_own(folder, beside)
    results = {kind: summary for record in records for kind, summary in record.measured.items()}
    updated = replace(config, measured={**config.measured, **results}, emosteer_version=version("emosteer"))
    # The tensors as they are stored: read as vectors, those of half precision would be float32 now.
    tensors = safetensors.torch.load((folder / VECTORS_FILE).read_bytes())
    data, sealed = fmt.serialise(tensors, updated)
    if sealed.digests != config.digests:
        raise FormatError(f"The tensors in {folder} are not those that were written.", "Copy or download it again.")
    text = card.updated(folder / CARD_FILE, updated, figures=tuple(beside))
    written = {VECTORS_FILE: data, CONFIG_FILE: fmt.config_json(sealed), CARD_FILE: text.encode()}
    write_folder(folder, {**beside, **written})
