"""The config inside a vector file: what its fields are, and the checks a stranger's file has to pass."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, NoReturn

from emosteer._util import strict_json
from emosteer.concepts.conceptset import LANGUAGE, NAME
from emosteer.errors import FormatError, warn

FORMAT_VERSION = 1
SITES = ("block_output",)
SCOPES = ("all", "prompt", "generated")
MAX_EMOTIONS = 1_000

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Format version → pure function that turns such a config into one of the next version."""

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")

__all__ = ["FORMAT_VERSION", "BaseModel", "Config", "Dose", "EmotionInfo", "is_repo_id"]


@dataclass(frozen=True)
class BaseModel:
    """The model that vectors were made from.

    Args:
        model_type: As transformers calls the architecture.
        num_hidden_layers: Its depth.
        hidden_size: Width of its residual stream.
        repo_id: Its name on the Hub, or None for a local model.
        revision: The commit, or None.
        weights_variant: How its weights differ from those published under `repo_id`, or None.
        fingerprint: sha256 over a small fixed sample of its weights, or None.
    """

    model_type: str
    num_hidden_layers: int
    hidden_size: int
    repo_id: str | None = None
    revision: str | None = None
    weights_variant: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class EmotionInfo:
    """What is known of an emotion beside its direction.

    Args:
        labels: Language code → what speakers call it.
        valence: Human rating from −1 (unpleasant) to 1 (pleasant), or None.
        arousal: Human rating from −1 (still) to 1 (stirred up), or None.
        source: Where the two ratings come from, or None.
    """

    labels: Mapping[str, str] = field(default_factory=dict)
    valence: float | None = None
    arousal: float | None = None
    source: str | None = None


@dataclass(frozen=True)
class Dose:
    """How strongly strength 1.0 steers.

    The delta at layer l is strength · dose · weight[l] · residual_norm[l] · direction[l].

    Args:
        dose: In units of the layer's mean residual norm.
        layers: Layers that are steered, 0-based.
        weights: One factor a layer.
        scope: Tokens that are steered: `"all"`, `"prompt"` or `"generated"`.
        budget: Fluency that the calibration was allowed to spend, in nats a token, or None.
        cost: What strength 1.0 was measured to cost, in nats a token, or None.
        hit_rate: Share of answers at strength 1.0 that a judge found in the emotion, or None.
        stopped: Why calibration stopped, or None.
    """

    dose: float
    layers: tuple[int, ...]
    weights: tuple[float, ...]
    scope: str = "all"
    budget: float | None = None
    cost: float | None = None
    hit_rate: float | None = None
    stopped: str | None = None


@dataclass(frozen=True)
class Config:
    """Everything in a vector file but the tensors themselves.

    Args:
        base_model: The model that the vectors belong to.
        layers: Layers of the rows of every tensor, rising.
        emotions: Name → what is known of it, in the file's order.
        doses: Calibrated doses; an emotion without one is steered with the fallback dose.
        extraction: How the directions were made.
        measured: Results, each with its n.
        license: SPDX identifier of the vectors, or None.
        site: Where in the model the directions live; `"block_output"` in version 1.
        digests: Tensor name → sha256 of its bytes.
        emosteer_version: That wrote the file.
    """

    base_model: BaseModel
    layers: tuple[int, ...]
    emotions: Mapping[str, EmotionInfo]
    doses: Mapping[str, Dose] = field(default_factory=dict)
    extraction: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)
    license: str | None = None
    site: str = "block_output"
    digests: Mapping[str, str] = field(default_factory=dict)
    emosteer_version: str = field(default_factory=lambda: version("emosteer"))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of format version 1, sealed with the digest of its own fields."""
        data = asdict(self)
        data["emotions"] = [{"name": name, **info} for name, info in data["emotions"].items()]
        # As JSON reads it back: lists for tuples, and the same sorted keys for the seal.
        data = strict_json.loads(strict_json.canonical({**data, "format_version": FORMAT_VERSION, "critical": []}))
        return {**data, "config_digest": _seal(data)}

    @classmethod
    def from_dict(cls, data: Any) -> Config:
        """Check and take a parsed config.

        A field that this version does not know is dropped with a warning, so that files of later emosteers load.

        Raises:
            FormatError: A field is missing, of the wrong kind, out of range or changed after writing; the file is of
                a later format; or it holds a field that it calls critical and this version does not know.
        """
        if not isinstance(data, dict):
            _bad("its config is not a JSON object")
        _check_version(data)
        data = dict(data)
        seal = data.pop("config_digest", None)
        written = _seal(data)  # with what a later emosteer put in and sealed, and before any migration
        while data["format_version"] < FORMAT_VERSION:
            data = MIGRATIONS[data["format_version"]](data)
        known, unknown = _known(data)
        _check_critical(data, unknown)
        checked = _Checker(known)
        config = cls(
            base_model=checked.base_model(),
            layers=checked.layers(),
            emotions=checked.emotions(),
            doses=checked.doses(),
            extraction=checked.extraction(),
            measured=checked.mapping("measured"),
            license=checked.text(known, "license", "license"),
            site=checked.choice(known.get("site"), "site", SITES),
            digests=checked.digests(),
            emosteer_version=checked.text(known, "emosteer_version", "emosteer_version") or "unknown",
        )
        if seal is not None and seal not in (written, _seal(known)):  # fields added by hand do no harm
            _bad("its config was changed after it was written", "Load it from where it came, or save it anew.")
        if unknown:
            warn(
                f"The vector file has fields this emosteer does not know ({', '.join(sorted(unknown))}): they are "
                "ignored. A later emosteer may understand them: pip install -U emosteer"
            )
        return config


_TOP = {
    *("format_version", "emosteer_version", "digests", "critical", "base_model", "layers", "site", "emotions"),
    *("extraction", "doses", "measured", "license", "config_digest"),
}
_BASE = set(BaseModel.__dataclass_fields__)
_EMOTION = {"name", *EmotionInfo.__dataclass_fields__}
_DOSE = set(Dose.__dataclass_fields__)


def is_repo_id(name: str) -> bool:
    """Could this be the name of a repository on the Hub?"""
    return _REPO_ID.fullmatch(name) is not None


def _bad(found: str, hint: str | None = None) -> NoReturn:
    raise FormatError(f"This is not a valid emosteer vector file: {found}.", hint)


def _seal(known: Mapping[str, Any]) -> str:
    return hashlib.sha256(strict_json.canonical(known).encode()).hexdigest()


def _check_version(data: Mapping[str, Any]) -> None:
    number = data.get("format_version")
    if not isinstance(number, int) or isinstance(number, bool) or number < min(MIGRATIONS, default=FORMAT_VERSION):
        _bad(f"its format_version is {str(number)[:20]!r}, expected a whole number from 1 to {FORMAT_VERSION}")
    if number > FORMAT_VERSION:
        _later(data, f"it is of format version {number}, this emosteer reads up to {FORMAT_VERSION}")


def _later(data: Mapping[str, Any], found: str) -> NoReturn:
    wrote = str(data.get("emosteer_version"))
    wanted = wrote if re.fullmatch(r"\d{1,6}(\.\d{1,6}){0,3}", wrote) else "unknown"
    install = "pip install -U emosteer" if wanted == "unknown" else f"pip install 'emosteer>={wanted}'"
    raise FormatError(
        f"This vector file needs a later emosteer: {found}.", f"It was written by emosteer {wanted}: {install}"
    )


def _known(data: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The fields that version 1 knows, at every level, and the dotted names of the others."""
    unknown: set[str] = set()

    def keep(value: Any, names: set[str], prefix: str) -> Any:
        if not isinstance(value, dict):
            return value  # of the wrong kind, which the checks will say
        unknown.update(f"{prefix}{name}"[:100] for name in value.keys() - names)
        return {name: value[name] for name in value if name in names}

    known: dict[str, Any] = keep(data, _TOP, "")
    known["base_model"] = keep(known.get("base_model"), _BASE, "base_model.")
    if isinstance(known.get("emotions"), list):
        known["emotions"] = [keep(entry, _EMOTION, "emotions.") for entry in known["emotions"]]
    if isinstance(known.get("doses"), dict):
        known["doses"] = {name: keep(dose, _DOSE, "doses.") for name, dose in known["doses"].items()}
    return known, {repr(name)[1:-1] for name in unknown}


def _check_critical(data: Mapping[str, Any], unknown: set[str]) -> None:
    critical = data.get("critical", [])
    if not isinstance(critical, list) or not all(isinstance(name, str) for name in critical):
        _bad("its field critical is not a list of field names")
    understood = _TOP | {f"base_model.{n}" for n in _BASE} | {f"emotions.{n}" for n in _EMOTION}
    understood |= {f"doses.{n}" for n in _DOSE}
    if beyond := [name for name in critical if name not in understood]:
        _later(data, f"it depends on {', '.join(map(repr, sorted(beyond)[:5]))}, which this emosteer does not know")


@dataclass(frozen=True)
class _Checker:
    """Field by field: is it there, of the right kind, in range."""

    data: Mapping[str, Any]

    def base_model(self) -> BaseModel:
        entry = self.mapping("base_model", required=True)
        numbers = {
            name: self.whole(entry.get(name), f"base_model.{name}", 1, 1_000_000)
            for name in ("num_hidden_layers", "hidden_size")
        }
        model_type = self.text(entry, "model_type", "base_model.model_type")
        repo_id = self.text(entry, "repo_id", "base_model.repo_id")
        if repo_id is not None and not is_repo_id(repo_id):
            _bad("base_model.repo_id is not the name of a repository")
        fingerprint = self.text(entry, "fingerprint", "base_model.fingerprint")
        if fingerprint is not None and not _SHA256.fullmatch(fingerprint):
            _bad("base_model.fingerprint is not a sha256")
        if model_type is None:
            _bad("base_model.model_type is missing")
        return BaseModel(
            model_type,
            **numbers,
            repo_id=repo_id,
            revision=self.text(entry, "revision", "base_model.revision"),
            weights_variant=self.text(entry, "weights_variant", "base_model.weights_variant"),
            fingerprint=fingerprint,
        )

    def layers(self) -> tuple[int, ...]:
        return self.rising(self.data.get("layers"), "layers", self.data["base_model"]["num_hidden_layers"])

    def emotions(self) -> dict[str, EmotionInfo]:
        entries = self.data.get("emotions")
        if not isinstance(entries, list) or not 0 < len(entries) <= MAX_EMOTIONS:
            _bad(f"emotions is not a list of 1 to {MAX_EMOTIONS} entries")
        found: dict[str, EmotionInfo] = {}
        for entry in entries:
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str) or not NAME.fullmatch(name) or name in found:
                _bad(f"{str(name)[:70]!r} is not the name of an emotion, or stands twice")
            labels = entry.get("labels", {})
            if not isinstance(labels, dict) or not all(map(LANGUAGE.fullmatch, labels)):
                _bad(f"the labels of {name} are not an object of languages")
            found[name] = EmotionInfo(
                {language: self.text(labels, language, f"a label of {name}") or "" for language in labels},
                self.number(entry.get("valence"), f"the valence of {name}", -1, 1),
                self.number(entry.get("arousal"), f"the arousal of {name}", -1, 1),
                self.text(entry, "source", f"the source of {name}"),
            )
        return found

    def doses(self) -> dict[str, Dose]:
        names = {entry["name"] for entry in self.data["emotions"]}
        found = {}
        for name, entry in self.mapping("doses").items():
            at = f"the dose of {name[:70]!r}"
            if name not in names or not isinstance(entry, dict):
                _bad(f"{at} is of no emotion in the file, or not an object")
            layers = self.rising(entry.get("layers"), at, self.data["base_model"]["num_hidden_layers"])
            weights = entry.get("weights")
            if not set(layers) <= set(self.data["layers"]):
                _bad(f"{at} names layers that the file does not have")
            if not isinstance(weights, list) or len(weights) != len(layers):
                _bad(f"{at} has not one weight a layer")
            found[name] = Dose(
                self.required(entry.get("dose"), at, 0, 1_000),
                layers,
                tuple(self.required(weight, f"a weight of {at}", -1_000, 1_000) for weight in weights),
                self.choice(entry.get("scope", "all"), f"{at}: scope", SCOPES),
                self.number(entry.get("budget"), f"{at}: budget", 0, 1_000),
                self.number(entry.get("cost"), f"{at}: cost", -1_000, 1_000),
                self.number(entry.get("hit_rate"), f"{at}: hit_rate", 0, 1),
                self.text(entry, "stopped", f"{at}: stopped"),
            )
        return found

    def extraction(self) -> dict[str, Any]:
        found = self.mapping("extraction")
        for name in ("method", "pooling", "concepts", "concepts_digest"):
            self.text(found, name, f"extraction.{name}")
        for name in ("stability", "counts"):
            numbers = found.get(name, {})
            if not isinstance(numbers, dict):
                _bad(f"extraction.{name} is not an object")
            for key, value in numbers.items():
                self.number(value, f"extraction.{name} of {key[:70]!r}", -1e9, 1e9)
        languages = found.get("languages", [])
        if not isinstance(languages, list) or not all(isinstance(n, str) and LANGUAGE.fullmatch(n) for n in languages):
            _bad("extraction.languages is not a list of languages")
        return found

    def digests(self) -> dict[str, str]:
        digests = self.mapping("digests", required=True)
        for name, digest in digests.items():
            if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
                _bad(f"the digest of {name[:70]!r} is not a sha256")
        return digests

    def mapping(self, name: str, *, required: bool = False) -> dict[str, Any]:
        value = self.data.get(name, None if required else {})
        if not isinstance(value, dict):
            _bad(f"{name} is missing or not an object")
        return value

    def rising(self, value: Any, name: str, depth: int) -> tuple[int, ...]:
        if not isinstance(value, list) or not 0 < len(value) <= depth:
            _bad(f"{name}: layers are not a list of 1 to {depth} numbers")
        layers = tuple(self.whole(layer, f"{name}: a layer", 0, depth - 1) for layer in value)
        if list(layers) != sorted(set(layers)):
            _bad(f"{name}: layers do not rise")
        return layers

    def choice(self, value: Any, name: str, choices: tuple[str, ...]) -> str:
        if not isinstance(value, str):
            _bad(f"{name} is missing or not a text")
        if value not in choices:
            _later(self.data, f"its {name} is {value[:40]!r}, this emosteer knows {', '.join(choices)}")
        return value

    @staticmethod
    def text(entry: Mapping[str, Any], key: str, name: str) -> str | None:
        value = entry.get(key)
        if value is not None and (not isinstance(value, str) or len(value) > 1_000 or not value.isprintable()):
            _bad(f"{name} is not a short printable text")
        return value

    @staticmethod
    def whole(value: Any, name: str, low: int, high: int) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            _bad(f"{name} is not a whole number from {low} to {high}")
        return value

    def number(self, value: Any, name: str, low: float, high: float) -> float | None:
        return None if value is None else self.required(value, name, low, high)

    @staticmethod
    def required(value: Any, name: str, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            _bad(f"{name} is not a number")
        if not low <= value <= high:  # NaN and infinities are not
            _bad(f"{name} is not between {low} and {high}")
        return float(value)
