"""EmotionVectors: the directions, residual norms and doses of a set of emotions for one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emosteer._util.names import EMOTION_NAME, NAME_RULE, ByName, meant
from emosteer._util.numbers import is_finite_number
from emosteer.errors import IncompatibleModelError, ToneError, warn
from emosteer.models.fingerprint import BaseModel, base_model_of, check_same
from emosteer.vectors import algebra, storage
from emosteer.vectors.config import Config
from emosteer.vectors.packing import check, pack, unpack
from emosteer.vectors.types import Dose, EmotionInfo, Readout, fallback_dose

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from emosteer.hub import Pushed
    from emosteer.vectors.format import VectorFile

__all__ = ["EmotionVectors"]


@dataclass(frozen=True, eq=False)
class EmotionVectors:
    """A set of emotions as directions in one model's residual stream.

    Args:
        directions: Emotion → `[n_layers, d_model]`, float32, unit rows.
        residual_norm: `[n_layers]`, float32, mean L2 norm of the residual stream after each layer on neutral text.
        layers: The layer, 0-based, of each row.
        base_model: The model they were made from.
        info: Emotion → labels, human valence and arousal.
        doses: Emotion → calibrated dose, for those that have one.
        extraction: How they were made.
        measured: Results, each with its n.
        license: SPDX identifier, or None.
        center: `[n_layers, d_model]`, mean activation of neutral text, or None.
        neutral_basis: `[n_layers, k, d_model]`, orthonormal components of neutral text that were projected out (rows of
            zeros where a layer has fewer than k), or None.
        readout: The readout of the model that they were made from, or None to have one fitted when it is needed.

    Raises:
        FormatError: Shapes do not fit each other, a row is not a unit vector, or a name is not one.
    """

    directions: Mapping[str, Tensor]
    residual_norm: Tensor
    layers: tuple[int, ...]
    base_model: BaseModel
    info: Mapping[str, EmotionInfo] = field(default_factory=dict)
    doses: Mapping[str, Dose] = field(default_factory=dict)
    extraction: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    license: str | None = None
    center: Tensor | None = None
    neutral_basis: Tensor | None = None
    readout: Readout | None = None

    def __post_init__(self) -> None:
        check(self)
        info = {name: self.info.get(name, EmotionInfo()) for name in self.directions}
        doses = {name: dose for name, dose in self.doses.items() if name in self.directions}
        for key, value in (("directions", self.directions), ("info", info), ("doses", doses)):
            object.__setattr__(self, key, ByName(value))

    def __repr__(self) -> str:
        name = self.base_model.repo_id or self.base_model.model_type
        return f"EmotionVectors({name}: {len(self.emotions)} emotions, {len(self.layers)} layers × {self.hidden_size})"

    @property
    def emotions(self) -> tuple[str, ...]:
        """Names of the emotions, in order."""
        return tuple(self.directions)

    @property
    def hidden_size(self) -> int:
        """Width of the residual stream that the directions live in."""
        return self.base_model.hidden_size

    def dose(self, emotion: str) -> Dose:
        """Return the calibrated dose of an emotion, or the fallback dose if it has none.

        Raises:
            ToneError: There is no such emotion.
        """
        self._require(emotion)
        return self.doses.get(emotion) or fallback_dose(self.layers, self.base_model.num_hidden_layers)

    def deltas(self, emotion: str, dose: Dose | None = None) -> dict[int, Tensor]:
        """Return what strength 1.0 of an emotion adds: layer → `[d_model]`, float32.

        The delta at layer l is `dose · weight[l] · residual_norm[l] · direction[l]`.

        Args:
            emotion: Its name.
            dose: By default its own.

        Raises:
            ToneError: There is no such emotion.
        """
        dose = dose or self.dose(emotion)
        rows, norms = [self.layers.index(layer) for layer in dose.layers], self.residual_norm.tolist()
        sizes = [dose.dose * weight * norms[row] for row, weight in zip(rows, dose.weights, strict=True)]
        directions = self.directions[emotion][rows]
        deltas = directions * directions.new_tensor(sizes).unsqueeze(-1)
        return dict(zip(dose.layers, deltas.unbind(), strict=True))

    def summary(self) -> dict[str, Any]:
        """Return what the set holds as plain data: what `emosteer info --json` prints."""
        return self.config.summary()

    @property
    def config(self) -> Config:
        """What the file of these vectors says, but for the digests of its tensors."""
        return Config(
            self.base_model,
            self.layers,
            self.info,
            self.doses,
            self.extraction,
            self.measured,
            self.license,
        )

    @classmethod
    def from_file(cls, file: VectorFile, emotions: Sequence[str] | None = None) -> EmotionVectors:
        """Read vectors from an open file.

        Args:
            file: From `emosteer.vectors.storage.opened`.
            emotions: Read only these; all by default.

        Raises:
            FormatError: A tensor is damaged.
            ToneError: An emotion asked for is not in the file.
        """
        return cls(**unpack(*storage.read(file, emotions)))

    # Algebra. Every operation gives a new object and leaves this one as it was.

    def select(self, emotions: Sequence[str]) -> EmotionVectors:
        """Return only these emotions, in this order.

        Raises:
            ToneError: One of them is not here.
        """
        for name in emotions:
            self._require(name)
        readout = self.readout and self.readout.select(emotions)
        return replace(self, directions={name: self.directions[name] for name in emotions}, readout=readout)

    def merge(self, other: EmotionVectors) -> EmotionVectors:
        """Return these emotions and those of another set for the same model.

        Raises:
            IncompatibleModelError: The other set belongs to a model of another shape, or has other layers.
            ToneError: An emotion is in both.
        """
        if (self.layers, self.hidden_size) != (other.layers, other.hidden_size):
            raise IncompatibleModelError(
                f"The two sets differ in layers or width: {self!r} and {other!r}.", "Extract both with the same model."
            )
        if twice := sorted(set(self.emotions) & set(other.emotions)):
            raise ToneError(f"Both sets have {', '.join(twice)}.", "Select from one of them before merging.")
        if self.base_model != other.base_model:
            warn(f"Merging vectors of two models: {self!r} and {other!r}.")
        norms = zip(self.layers, other.residual_norm.tolist(), self.residual_norm.tolist(), strict=True)
        ratios = {layer: theirs / ours for layer, theirs, ours in norms}
        doses = {name: algebra.rescaled(dose, ratios) for name, dose in other.doses.items()}
        stability = {**self.extraction.get("stability", {}), **other.extraction.get("stability", {})}
        return replace(
            self,
            directions={**self.directions, **other.directions},
            info={**self.info, **other.info},
            doses={**self.doses, **doses},
            extraction={**self.extraction, **({"stability": stability} if stability else {})},
            license=self.license if self.license == other.license else None,
            readout=None,
        )

    def scale(self, factors: float | Mapping[str, float]) -> EmotionVectors:
        """Return the same directions with multiplied doses.

        Args:
            factors: One positive factor for all emotions, or one for each that is named.

        Raises:
            ToneError: An emotion is not here, or a factor is not a positive number.
        """
        named = dict(factors) if isinstance(factors, Mapping) else dict.fromkeys(self.emotions, factors)
        doses = dict(self.doses)
        for name, factor in named.items():
            if not is_finite_number(factor) or factor <= 0:
                raise ToneError(f"The factor of {name!r} is {factor!r}, it must be a positive number.")
            dose = self.dose(name)
            # What was measured at the old dose is not true of the new one.
            doses[name] = Dose(dose.dose * factor, dose.layers, dose.weights, dose.scope)
        return replace(
            self, doses=doses, measured={kind: results for kind, results in self.measured.items() if kind != "steering"}
        )

    def add(self, name: str, mixture: Mapping[str, float]) -> EmotionVectors:
        """Return a set with one more emotion, a mixture of others: its strength 1.0 adds what the mixture would.

        Args:
            name: Of the new emotion.
            mixture: Emotion → strength, as for steering.

        Raises:
            ToneError: The name is taken or not a name, an emotion is not here, a strength is not a finite number, the
                emotions are steered at different tokens, or the mixture cancels out.
        """
        if name in self.directions or not EMOTION_NAME.fullmatch(name):
            raise ToneError(f"{name!r} is taken or not a name for an emotion.", NAME_RULE)
        parts = [
            (algebra.finite_strength(emotion, strength), self.deltas(emotion)) for emotion, strength in mixture.items()
        ]
        scopes = {self.dose(emotion).scope for emotion in mixture}
        if len(scopes) > 1:
            raise ToneError(f"The emotions of {name!r} are steered at different tokens: {', '.join(sorted(scopes))}.")
        scope = next(iter(scopes), "all")
        default = algebra.mean_direction(self.directions.values())
        rows, dose = algebra.mixture(name, parts, self.layers, self.residual_norm, default, scope)
        directions, doses = {**self.directions, name: rows}, {**self.doses, name: dose}
        return replace(self, directions=directions, doses=doses, readout=None)

    def cosines(self, layer: int | None = None) -> Tensor:
        """Return how alike the emotions are: `[n_emotions, n_emotions]`, the cosine of their directions.

        Args:
            layer: By default the mean over all layers.

        Raises:
            ToneError: The set has no such layer.
        """
        import torch

        if layer is not None and layer not in self.layers:
            raise ToneError(f"The vectors have no layer {layer}.", f"They have {', '.join(map(str, self.layers))}.")
        stacked = torch.stack(list(self.directions.values()), dim=1)  # [n_layers, n_emotions, d_model]
        table = stacked @ stacked.transpose(1, 2)
        return table.mean(0) if layer is None else table[self.layers.index(layer)]

    # Controls.

    @classmethod
    def random(cls, model: PreTrainedModel, emotions: Sequence[str], *, seed: int = 0) -> EmotionVectors:
        """Return random unit directions for a model: what vectors without any meaning do.

        Args:
            model: Whose shape they take; its residual norms are measured on 64 random tokens.
            emotions: Names to give them.
            seed: Of the directions and the tokens.

        Returns:
            Vectors for every layer, without doses.
        """
        from emosteer.vectors.controls import generator_of, random_units, residual_norms

        generator = generator_of(seed)
        base = base_model_of(model)
        norms = residual_norms(model, generator)
        names = [emotions] if isinstance(emotions, str) else emotions
        directions = {name: random_units(len(norms), base.hidden_size, generator) for name in names}
        extraction = {"method": "random", "seed": seed}
        return cls(directions, norms, tuple(range(len(norms))), base, extraction=extraction)

    @classmethod
    def random_like(cls, vectors: EmotionVectors, *, seed: int = 0) -> EmotionVectors:
        """Return the control of equal norm: the same emotions, doses, layers and norms with random directions."""
        from emosteer.vectors.controls import generator_of, random_units

        generator = generator_of(seed)
        shape = len(vectors.layers), vectors.hidden_size
        directions = {name: random_units(*shape, generator) for name in vectors.emotions}
        return replace(
            vectors, directions=directions, extraction={"method": "random", "seed": seed}, measured={}, readout=None
        )

    # Disk and Hub.

    def save_pretrained(self, folder: str | Path, *, dtype: str = "float32") -> None:
        """Write `vectors.safetensors`, `config.json` and the card `README.md`; the same vectors give the same bytes.

        Earlier vectors there are replaced. An existing card keeps what people wrote outside of emosteer's marks.

        Args:
            folder: Created if it does not exist.
            dtype: Of the directions on disk: `"float32"`, or `"float16"` for half the size.

        Raises:
            InputError: The dtype is neither, the folder cannot be written, a file there is not emosteer's (a model's
                `config.json`, a card), or its `calibration.json` is of other doses; nothing is left half-written.
        """
        storage.save(self.config, pack(self), Path(folder), dtype)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        create_pr: bool = False,
        revision: str | None = None,
        commit_message: str | None = None,
        token: str | bool | None = None,
    ) -> Pushed:
        """Publish these vectors on the Hub, in one commit: the file, its config and the card.

        An existing card keeps what people wrote. `emosteer push` publishes a folder with its figures and records.

        Args:
            repo_id: `user/name`; created if it does not exist.
            private: Whether a new repository is private; by default as the owner's settings say.
            create_pr: Propose the change as a pull request, for example to somebody else's repository.
            revision: Branch to commit to, created if it does not exist; by default the main one.
            commit_message: By default one that names the model.
            token: As for `huggingface_hub`: by default the one that was saved by its login.

        Returns:
            The address, commit and pull request.

        Raises:
            HubError: The Hub does not take it, or somebody else changed the repository meanwhile; nothing was written.
        """
        return storage.push(
            storage.files_of(self.config, pack(self), repo_id=repo_id),
            repo_id,
            private=private,
            create_pr=create_pr,
            revision=revision,
            commit_message=commit_message,
            token=token,
        )

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        emotions: Sequence[str] | None = None,
        subfolder: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> EmotionVectors:
        """Load vectors from a folder, a single `.safetensors` file or a repository on the Hub.

        All files of a repository come from one commit and stay in the Hub client's cache, which serves them without a
        connection. If only some emotions are asked for and the file is not in the cache, only their bytes are fetched,
        and nothing is kept.

        Args:
            source: The folder, the file or `user/name`.
            emotions: Read only these; all by default. `neutral_basis` and the readout are then left out.
            subfolder: Of the repository or folder, if it holds several sets.
            revision: Branch, tag or commit on the Hub; by default the main branch.
            token: As for `huggingface_hub`: by default the one that was saved by its login.
            local_files_only: Use the cache only.

        Raises:
            FormatError: The file is missing, damaged, foreign or of a later version.
            HubError: The Hub does not give it.
            ToneError: An emotion asked for is not in it.
        """
        with storage.opened(
            source,
            emotions,
            subfolder=subfolder,
            revision=revision,
            token=token,
            local_files_only=local_files_only,
        ) as file:
            return cls.from_file(file, emotions)

    def check_model(self, model: PreTrainedModel) -> None:
        """Check that these vectors belong to a model.

        A model of another shape is an error. Another architecture, a fine-tune or other weights are a warning; other
        weights of the same model (a quantised and the full-precision variant) are only a log line.

        Raises:
            IncompatibleModelError: Depth or width differ.
        """
        check_same(self.base_model, base_model_of(model))

    def _require(self, emotion: str) -> None:
        if emotion not in self.directions:
            raise ToneError(
                f"There is no emotion {str(emotion)[:64]!r} in these vectors.", meant(emotion, self.emotions)
            )
