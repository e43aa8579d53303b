"""Vectors as files: what a folder of them holds, reading from a folder, a file or the Hub, and publishing.

Everything here works on a config and tensors by their names in the file; `EmotionVectors` is built on top.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer import hub
from emosteer._util import strict_json
from emosteer._util.atomic import write_folder
from emosteer._util.layout import CARD_FILE, CONFIG_FILE, FIGURES, FIGURES_OF, LIMITS, RECORDS, VECTORS_FILE
from emosteer._util.own_files import is_own, require_own
from emosteer.errors import FormatError, InputError, warn
from emosteer.vectors import card, measured
from emosteer.vectors import format as fmt
from emosteer.vectors.config import Config

if TYPE_CHECKING:
    from torch import Tensor

CALIBRATION_FILE = "calibration.json"

__all__ = ["files_in", "files_of", "files_to_push", "located", "opened", "push", "read", "save"]


def files_of(
    config: Config, tensors: Mapping[str, Tensor], dtype: str = "float32", repo_id: str | None = None
) -> dict[str, bytes]:
    """Return the files of a new folder of vectors, the same for the same vectors.

    Args:
        config: What the vectors say of themselves; digests are added.
        tensors: Name in the file → float32 tensor.
        dtype: Of the directions: `"float32"`, or `"float16"` for half the size.
        repo_id: Of the vectors on the Hub, where it is known.

    Raises:
        InputError: The dtype is neither.
        FormatError: The config says more than a file may hold.
    """
    import torch

    dtypes = {"float32": torch.float32, "float16": torch.float16}
    if dtype not in dtypes:
        raise InputError(f"Vectors are saved as float32 or float16, not as {dtype!r}.")
    stored = dict(tensors)
    for name, tensor in tensors.items():
        if name.startswith(fmt.DIRECTION):
            stored[name] = _unit(tensor).to(dtypes[dtype])
        elif name == fmt.NEUTRAL_BASIS:
            stored[name] = tensor.to(dtypes[dtype])
    data, sealed = fmt.serialise(stored, config)
    text = card.new(config, repo_id=repo_id)
    return {VECTORS_FILE: data, CONFIG_FILE: fmt.config_json(sealed), CARD_FILE: text.encode()}


def save(config: Config, tensors: Mapping[str, Tensor], folder: Path, dtype: str = "float32") -> None:
    """Write vectors into a folder; an existing card keeps what people wrote. See `EmotionVectors.save_pretrained`.

    Reports and figures of emosteer's on what other vectors did are removed with those vectors.

    Raises:
        InputError: As for `files_of`, a file there is not emosteer's or is the record of other doses, or the folder
            cannot be written; nothing is left half-written.
    """
    files = files_of(config, tensors, dtype)
    require_own(folder, files)
    stale = _stale(folder, config)
    try:
        text = card.updated(folder / CARD_FILE, config)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(folder)[:300]} cannot be written ({error}).") from error
    write_folder(folder, {**files, CARD_FILE: text.encode()}, without=stale)
    if stale:
        warn(f"Removed from {folder}, as they are of other vectors or doses: {', '.join(stale)}.")


def files_in(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder of vectors as they are, each one checked.

    Args:
        folder: With vectors in it. Anything else it holds, records and figures of other vectors included, is left out.

    Raises:
        FormatError: The vectors are damaged or incomplete, or a record is not JSON.
        InputError: The card cannot be read, or a file is too large or unreadable.
    """
    return _checked(folder)[1]


def files_to_push(folder: Path) -> dict[str, bytes]:
    """Return the same files with emosteer's part of the card written anew from the vector file.

    Raises:
        FormatError: As for `files_in`.
        InputError: As for `files_in`.
    """
    config, files = _checked(folder)
    text = files.get(CARD_FILE, b"").decode("utf-8-sig")
    text = card.rewritten(text, config, files) if text else card.new(config, files)
    return {**files, CARD_FILE: text.encode()}


def push(
    files: Mapping[str, bytes], repo_id: str, *, commit_message: str | None = None, **options: bool | str | None
) -> hub.Pushed:
    """Publish the files of a set of vectors in one commit.

    Args:
        files: Name → content, from `files_of` or `files_to_push`.
        repo_id: `user/name`.
        commit_message: By default one that names the model.
        **options: For `emosteer.hub.push`: `private`, `create_pr`, `revision`, `subfolder`, `replace_card`, `token`.

    Raises:
        HubError: The Hub does not take it, or somebody else changed the repository; nothing was written.
        InputError: The name cannot be one, or a branch is named for a pull request.
    """
    data = files[VECTORS_FILE]
    config = fmt.VectorFile.over(BytesIO(data), len(data), VECTORS_FILE, files[CONFIG_FILE]).config
    base = config.base_model
    return hub.push(
        files,
        repo_id,
        base_model=base.repo_id,
        licence=config.license,
        merge_card=card.merged_over,
        commit_message=commit_message or f"Emotion vectors for {base.repo_id or base.model_type}",
        **options,  # type: ignore[arg-type]  # each is what hub.push says
    )


def _checked(folder: Path) -> tuple[Config, dict[str, bytes]]:
    if folder.is_file():
        raise InputError(f"{folder} is not a folder.", "To push vectors, name the folder with their card.")
    with fmt.VectorFile.open(folder) as file:
        config, _ = read(file)
    files = {}
    for name in _belonging(config, folder):
        path, largest = folder / name, LIMITS[name]
        if not path.exists():
            continue
        try:
            if path.stat().st_size > largest:
                raise InputError(f"{path} has {path.stat().st_size:,} bytes, no such file has more than {largest:,}.")
            files[name] = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    card.existing(folder / CARD_FILE)
    for name in files.keys() & set(RECORDS):
        try:
            strict_json.loads(files[name])
        except ValueError as error:
            raise FormatError(f"{folder / name} cannot be read: {error}.") from None
    for name in files.keys() & set(FIGURES):
        if not files[name].startswith(b"\x89PNG\r\n"):
            raise FormatError(f"{folder / name} is not a PNG picture.")
    return config, files


@contextmanager
def opened(
    source: str | Path,
    emotions: Sequence[str] | None = None,
    *,
    subfolder: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Iterator[fmt.VectorFile]:
    """Open the file of a set of vectors, wherever it is; arguments as for `EmotionVectors.from_pretrained`.

    Raises:
        FormatError: It is missing, damaged, foreign or of a later version.
        HubError: The Hub does not give it.
        InputError: A revision was given of something that is not on the Hub.
    """
    if hub.is_remote(source):
        repository = hub.Repository.at(
            str(source), subfolder=subfolder, revision=revision, token=token, local_files_only=local_files_only
        )
        with _opened_remote(repository, whole=emotions is None) as file:
            yield file
        return
    if revision is not None or local_files_only:
        raise InputError(f"{source} is not a repository on the Hub.", "revision and local_files_only are for those.")
    with fmt.VectorFile.open(Path(source, subfolder) if subfolder else Path(source)) as file:
        yield file


@contextmanager
def _opened_remote(repository: hub.Repository, *, whole: bool) -> Iterator[fmt.VectorFile]:
    """Open the vector file from the cache, after a download, or by ranges on the Hub itself.

    Args:
        repository: That holds it.
        whole: Download it; else, if it is not in the cache, only what is read of it is fetched, and not kept.
    """
    if whole or repository.local_files_only or repository.cached(VECTORS_FILE):
        folder = repository.fetch((VECTORS_FILE, CONFIG_FILE))
        try:
            with fmt.VectorFile.open(folder, repository.label) as file:
                yield file
        except FormatError as error:
            repository.check_cache(folder, (VECTORS_FILE, CONFIG_FILE), error)
            raise
        return
    config = (repository.fetch((CONFIG_FILE,)) / CONFIG_FILE).read_bytes()
    stream, size = repository.stream(VECTORS_FILE)
    yield fmt.VectorFile.over(stream, size, repository.label, config)


def located(source: str | Path, *, also: Sequence[str] = ()) -> Path:
    """Return the folder or file of vectors on this machine; for a repository, the folder in the Hub client's cache.

    Args:
        source: A folder, a file or `user/name` on the Hub.
        also: Names of files beside the vectors that are fetched too where they exist.

    Raises:
        HubError: The Hub does not give it.
    """
    if hub.is_remote(source):
        return hub.Repository.at(str(source)).fetch((VECTORS_FILE, CONFIG_FILE), optional=(CARD_FILE, *also))
    return Path(source)


def read(file: fmt.VectorFile, emotions: Sequence[str] | None = None) -> tuple[Config, dict[str, Tensor]]:
    """Return the config and the tensors of an open file, the tensors as float32 by their names in the file.

    Args:
        file: Stays open.
        emotions: Read only these; all by default. With a selection, `neutral_basis` (large, and of no use for
            steering) and the readout are left out.

    Raises:
        FormatError: A tensor is damaged.
        ToneError: An emotion asked for is not in the file.
    """
    tensors = {fmt.DIRECTION + name: rows for name, rows in file.directions(emotions).items()}
    names = [fmt.RESIDUAL_NORM, *([fmt.CENTER] if fmt.CENTER in file else [])]
    if emotions is None:
        readout = [f"{fmt.READOUT_WEIGHTS}{layer}" for layer in file.config.layers]
        names += [name for name in (fmt.NEUTRAL_BASIS, *readout, *fmt.READOUT_PARTS) if name in file]
    return file.config, tensors | {name: file.read(name) for name in names}


def _belonging(config: Config, folder: Path) -> list[str]:
    """Names of the files that may stand beside these vectors: records and figures of what their own file holds."""
    names = [VECTORS_FILE, CONFIG_FILE, CARD_FILE]
    if config.doses and not _is_of_other_doses(folder / CALIBRATION_FILE, config):
        names.append(CALIBRATION_FILE)
    for kind, summary_type in measured.SUMMARIES.items():
        if summary := measured.known(summary_type, config.measured.get(kind)):
            names += [f"{kind}.json", *card.figures_of(summary)]
    return names


def _stale(folder: Path, config: Config) -> list[str]:
    """Names of reports and figures in a folder that would not be of these vectors.

    Raises:
        InputError: The record of a calibration is of other doses. It took hours, so it is not removed.
    """
    belonging = _belonging(config, folder)
    there = [name for name in RECORDS if name not in belonging and is_own(folder / name)]
    if CALIBRATION_FILE in there:
        raise InputError(
            f"{folder / CALIBRATION_FILE} is the record of other doses than these vectors have.",
            "Apply it to them (emosteer.Calibration.load(folder).apply(vectors)), move it, or name another folder.",
        )
    return [name for record in there for name in (record, *FIGURES_OF[record]) if (folder / name).is_file()]


def _is_of_other_doses(record: Path, config: Config) -> bool:
    """Return whether a record of a calibration has another dose than the vectors for an emotion of both, or none."""
    if not is_own(record):
        return False
    emotions = strict_json.loads(record.read_bytes())["emotions"]
    doses = {name: entry["dose"] for name, entry in emotions.items() if name in config.emotions}
    ours = {name: config.doses[name].dose for name in doses if name in config.doses}
    return not doses or doses != ours


def _unit(rows: Tensor) -> Tensor:
    """Rows of unit length; those that are already, to float32's precision, bit for bit as they were."""
    length = rows.norm(dim=-1, keepdim=True)
    return rows if bool(((length - 1).abs() < 1e-5).all()) else rows / length
