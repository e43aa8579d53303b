"""Vectors as files: what a folder of them holds, and reading them from a folder, a file or the Hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from emosteer._util import strict_json
from emosteer._util.atomic import write_folder
from emosteer.errors import FormatError, InputError
from emosteer.vectors import card, measured
from emosteer.vectors import format as fmt
from emosteer.vectors.config import Config

if TYPE_CHECKING:
    from torch import Tensor

    from emosteer.reading.readout import Readout
    from emosteer.vectors.emotion_vectors import EmotionVectors

__all__ = ["config_of", "files_in", "files_of", "files_to_push", "located", "opened", "read", "save"]


def config_of(vectors: EmotionVectors) -> Config:
    """What the file of vectors says, but for the digests of its tensors."""
    return Config(
        vectors.base_model,
        vectors.layers,
        vectors.info,
        vectors.doses,
        vectors.extraction,
        vectors.measured,
        vectors.license,
    )


def files_of(vectors: EmotionVectors, dtype: str = "float32", repo_id: str | None = None) -> dict[str, bytes]:
    """The files of a new folder of vectors, the same for the same vectors.

    Args:
        vectors: What to write.
        dtype: Of the directions: `"float32"`, or `"float16"` for half the size.
        repo_id: Of the vectors on the Hub, where it is known.

    Raises:
        InputError: The dtype is neither.
        FormatError: They say more of themselves than a file may hold.
    """
    import torch

    dtypes = {"float32": torch.float32, "float16": torch.float16}
    if dtype not in dtypes:
        raise InputError(f"Vectors are saved as float32 or float16, not as {dtype!r}.")
    tensors = {fmt.DIRECTION + name: _unit(rows).to(dtypes[dtype]) for name, rows in vectors.directions.items()}
    tensors[fmt.RESIDUAL_NORM] = vectors.residual_norm
    if vectors.center is not None:
        tensors[fmt.CENTER] = vectors.center
    if vectors.neutral_basis is not None:
        tensors[fmt.NEUTRAL_BASIS] = vectors.neutral_basis.to(dtypes[dtype])
    if (readout := vectors.readout) is not None:
        tensors |= {fmt.READOUT_WEIGHTS + str(layer): weights for layer, weights in readout.weights.items()}
        tensors |= dict(zip(fmt.READOUT_PARTS, (readout.bias, readout.spread, readout.inertia), strict=True))
    data, config = fmt.serialise(tensors, config_of(vectors))
    text = card.new(vectors, repo_id=repo_id)
    return {fmt.VECTORS_FILE: data, fmt.CONFIG_FILE: fmt.config_json(config), fmt.CARD_FILE: text.encode()}


def save(vectors: EmotionVectors, folder: Path, dtype: str = "float32") -> None:
    """Write vectors into a folder; a card that is there keeps what people wrote. As `EmotionVectors.save_pretrained`.

    Raises:
        InputError: As `files_of`, or the folder cannot be written; nothing is left half-written.
    """
    files = files_of(vectors, dtype)
    try:
        text = card.updated(folder / fmt.CARD_FILE, vectors)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{str(folder)[:300]} cannot be written ({error}).") from error
    write_folder(folder, {**files, fmt.CARD_FILE: text.encode()})


def files_in(folder: Path) -> dict[str, bytes]:
    """The files of a folder of vectors as they are, every one checked.

    Args:
        folder: With vectors in it; what else it holds, records and figures of other vectors too, is left out.

    Raises:
        FormatError: The vectors are damaged or not complete, or a record is no JSON.
        InputError: The card cannot be read, or a file is too large or unreadable.
    """
    return _checked(folder)[1]


def files_to_push(folder: Path) -> dict[str, bytes]:
    """The same, with emosteer's part of the card as the file says, whatever somebody made of it; raises the same."""
    vectors, files = _checked(folder)
    text = files.get(fmt.CARD_FILE, b"").decode()
    text = card.rewritten(text, vectors, files) if text else card.new(vectors, files)
    return {**files, fmt.CARD_FILE: text.encode()}


def _checked(folder: Path) -> tuple[EmotionVectors, dict[str, bytes]]:
    if folder.is_file():
        raise InputError(f"{folder} is no folder.", "Vectors that are to be pushed are a folder with their card.")
    with fmt.VectorFile.open(folder) as file:
        vectors = read(file)
    files = {}
    for name in _belonging(vectors):
        path, largest = folder / name, fmt.LIMITS[name]
        if not path.exists():
            continue
        try:
            if path.stat().st_size > largest:
                raise InputError(f"{path} has {path.stat().st_size:,} bytes, no such file has more than {largest:,}.")
            files[name] = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    card.existing(folder / fmt.CARD_FILE)
    for name in files.keys() & set(fmt.RECORDS):
        try:
            strict_json.loads(files[name])
        except ValueError as error:
            raise FormatError(f"{folder / name} cannot be read: {error}.") from None
    for name in files.keys() & set(fmt.FIGURES):
        if not files[name].startswith(b"\x89PNG\r\n"):
            raise FormatError(f"{folder / name} is no PNG picture.")
    return vectors, files


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
        InputError: A revision of something that is not on the Hub.
    """
    from emosteer import hub

    if hub.is_remote(source):
        repository = hub.Repository.at(
            str(source), subfolder=subfolder, revision=revision, token=token, local_files_only=local_files_only
        )
        with repository.opened(whole=emotions is None) as file:
            yield file
        return
    if revision is not None or local_files_only:
        raise InputError(f"{source} is no repository on the Hub.", "revision and local_files_only are for those.")
    with fmt.VectorFile.open(Path(source, subfolder) if subfolder else Path(source)) as file:
        yield file


def located(source: str | Path, *, also: Sequence[str] = ()) -> Path:
    """The folder or file of vectors on this machine; of a repository, the folder in the Hub client's cache.

    Args:
        source: A folder, a file or `user/name` on the Hub.
        also: Names of files that stand beside the vectors and are wanted too, where they are there.

    Raises:
        HubError: The Hub does not give it.
    """
    from emosteer import hub

    if hub.is_remote(source):
        wanted = (fmt.VECTORS_FILE, fmt.CONFIG_FILE)
        return hub.Repository.at(str(source)).fetch(wanted, optional=(fmt.CARD_FILE, *also))
    return Path(source)


def read(file: fmt.VectorFile, emotions: Sequence[str] | None = None) -> EmotionVectors:
    """The vectors in an open file.

    Args:
        file: It stays open.
        emotions: Read only these; all by default.

    Raises:
        FormatError: A tensor is damaged.
        ToneError: An emotion asked for is not in it.
    """
    from emosteer.vectors.emotion_vectors import EmotionVectors

    config = file.config
    # Large, and of no use for steering.
    basis = emotions is None and fmt.NEUTRAL_BASIS in file
    readout = emotions is None and fmt.READOUT_PARTS[0] in file
    return EmotionVectors(
        directions=file.directions(emotions),
        residual_norm=file.read(fmt.RESIDUAL_NORM),
        layers=config.layers,
        base_model=config.base_model,
        info=config.emotions if emotions is None else {name: config.emotions[name] for name in emotions},
        doses=config.doses,
        extraction=config.extraction,
        measured=config.measured,
        license=config.license,
        center=file.read(fmt.CENTER) if fmt.CENTER in file else None,
        neutral_basis=file.read(fmt.NEUTRAL_BASIS) if basis else None,
        readout=_readout(file) if readout else None,
    )


def _readout(file: fmt.VectorFile) -> Readout:
    from emosteer.reading.readout import AXES, Readout

    names = {layer: f"{fmt.READOUT_WEIGHTS}{layer}" for layer in file.config.layers}
    weights = {layer: file.read(name) for layer, name in names.items() if name in file}
    bias, spread, inertia = map(file.read, fmt.READOUT_PARTS)
    emotions = tuple(file.config.emotions)
    return Readout(emotions, AXES if len(bias) > len(emotions) else (), weights, bias, spread, inertia)


def _belonging(vectors: EmotionVectors) -> list[str]:
    """Names of the files that may stand beside these vectors: records and figures of what their own file holds."""
    names = [fmt.VECTORS_FILE, fmt.CONFIG_FILE, fmt.CARD_FILE]
    if vectors.doses:
        names.append("calibration.json")
    for kind, shape in measured.SUMMARIES.items():
        if summary := measured.known(shape, vectors.measured.get(kind)):
            names += [f"{kind}.json", *card.figures_of(summary)]
    return names


def _unit(rows: Tensor) -> Tensor:
    """Rows of unit length; those that are already, to float32's precision, bit for bit as they were."""
    length = rows.norm(dim=-1, keepdim=True)
    return rows if bool(((length - 1).abs() < 1e-5).all()) else rows / length
