"""The config inside a vector file: its fields, and the checks that a stranger's file has to pass."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any, NoReturn

from emosteer._util import strict_json
from emosteer._util.names import EMOTION_NAME, LANGUAGE, is_repo_id
from emosteer._util.schema import Schema
from emosteer.errors import FormatError, warn
from emosteer.models.fingerprint import BaseModel
from emosteer.vectors.types import SCOPES, Dose, EmotionInfo, fallback_dose

FORMAT_VERSION = 1
SITES = ("block_output",)
MAX_EMOTIONS = 1_000

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""Format version → pure function that turns such a config into one of the next version."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_check = Schema("a valid emosteer vector file")

__all__ = ["FORMAT_VERSION", "Config"]


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
        emosteer_version: The version that wrote the file.
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
        """Return the JSON object of format version 1, sealed with the digest of its own fields."""
        data = asdict(self)
        data["emotions"] = [{"name": name, **info} for name, info in data["emotions"].items()]
        for dose in data["doses"].values():
            if dose["divergence"] is None:  # as before there was the field, so that those files stay as they are
                del dose["divergence"]
        # As JSON reads it back: lists for tuples, and the same sorted keys for the seal.
        data = strict_json.loads(strict_json.canonical({**data, "format_version": FORMAT_VERSION, "critical": []}))
        return {**data, "config_digest": _seal(data)}

    @classmethod
    def from_dict(cls, data: Any) -> Config:
        """Check a parsed config and return it.

        A field that this version does not know is dropped with a warning, so that files of later versions load.

        Raises:
            FormatError: A field is missing, of the wrong kind, out of range or changed after writing; the file is of
                a later format; or it holds a field that it calls critical and this version does not know.
        """
        if not isinstance(data, dict):
            _check.fail("its config is not a JSON object")
        _check_version(data)
        data = dict(data)
        seal = data.pop("config_digest", None)
        written = _seal(data)  # with what a later emosteer put in and sealed, and before any migration
        while data["format_version"] < FORMAT_VERSION:
            data = MIGRATIONS[data["format_version"]](data)
        known, unknown = _known(data)
        _check_critical(data, unknown)
        config = _parse(known)
        if seal is not None and seal not in (written, _seal(known)):  # fields added by hand do no harm
            _check.fail("its config was changed after it was written", "Load it from where it came, or save it anew.")
        if unknown:
            warn(
                f"The vector file has fields this emosteer does not know ({', '.join(sorted(unknown))}): they are "
                "ignored. A later emosteer may understand them: pip install -U emosteer"
            )
        return config

    def summary(self) -> dict[str, Any]:
        """Return what the vectors say of themselves as plain data: what `emosteer info --json` prints."""
        stability = self.extraction.get("stability", {})
        fallback = fallback_dose(self.layers, self.base_model.num_hidden_layers)
        return {
            "base_model": asdict(self.base_model),
            "layers": list(self.layers),
            "license": self.license,
            "extraction": dict(self.extraction),
            "measured": dict(self.measured),
            "emotions": [
                {
                    "name": name,
                    **asdict(info),
                    "dose": asdict(self.doses.get(name, fallback)),
                    "calibrated": name in self.doses,
                    "calibration": self.doses[name].calibration if name in self.doses else "fallback",
                    "stability": stability.get(name),
                }
                for name, info in self.emotions.items()
            ],
        }


_TOP = {
    *("format_version", "emosteer_version", "digests", "critical", "base_model", "layers", "site", "emotions"),
    *("extraction", "doses", "measured", "license", "config_digest"),
}
_BASE = set(BaseModel.__dataclass_fields__)
_EMOTION = {"name", *EmotionInfo.__dataclass_fields__}
_DOSE = set(Dose.__dataclass_fields__)


def _seal(known: Mapping[str, Any]) -> str:
    return hashlib.sha256(strict_json.canonical(known).encode()).hexdigest()


def _check_version(data: Mapping[str, Any]) -> None:
    number = data.get("format_version")
    if not isinstance(number, int) or isinstance(number, bool) or number < min(MIGRATIONS, default=FORMAT_VERSION):
        _check.fail(f"its format_version is {str(number)[:20]!r}, expected a whole number from 1 to {FORMAT_VERSION}")
    if number > FORMAT_VERSION:
        _needs_later(data, f"it is of format version {number}, this emosteer reads up to {FORMAT_VERSION}")


def _needs_later(data: Mapping[str, Any], reason: str) -> NoReturn:
    writer = str(data.get("emosteer_version"))
    needed = writer if re.fullmatch(r"\d{1,6}(\.\d{1,6}){0,3}", writer) else "unknown"
    install = "pip install -U emosteer" if needed == "unknown" else f"pip install 'emosteer>={needed}'"
    raise FormatError(
        f"This vector file needs a later emosteer: {reason}.", f"It was written by emosteer {needed}: {install}"
    )


def _known(data: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return the fields that version 1 knows, at every level, and the dotted names of the others."""
    unknown: set[str] = set()

    def keep(value: Any, names: set[str], prefix: str) -> Any:
        if not isinstance(value, dict):
            return value  # of the wrong kind, which the checks will report
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
        _check.fail("its field critical is not a list of field names")
    understood = _TOP | {f"base_model.{n}" for n in _BASE} | {f"emotions.{n}" for n in _EMOTION}
    understood |= {f"doses.{n}" for n in _DOSE}
    if beyond := [name for name in critical if name not in understood]:
        names = ", ".join(map(repr, sorted(beyond)[:5]))
        _needs_later(data, f"it depends on {names}, which this emosteer does not know")


def _parse(data: Mapping[str, Any]) -> Config:
    """Check the known fields one by one, those that others refer to first."""
    base_model = _base_model(_check.mapping(data.get("base_model"), "base_model"))
    layers = _check.layers(data.get("layers"), "layers", base_model.num_hidden_layers)
    emotions = _emotions(data.get("emotions"))
    doses = {
        name: _dose(name, entry, data, emotions, base_model.num_hidden_layers)
        for name, entry in _check.mapping(data.get("doses", {}), "doses").items()
    }
    digests = _check.mapping(data.get("digests"), "digests")
    for name, digest in digests.items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            _check.fail(f"the digest of {name[:70]!r} is not a sha256")
    return Config(
        base_model=base_model,
        layers=layers,
        emotions=emotions,
        doses=doses,
        extraction=_extraction(_check.mapping(data.get("extraction", {}), "extraction")),
        measured=_check.mapping(data.get("measured", {}), "measured"),
        license=_check.optional_text(data, "license"),
        site=_choice(data, data.get("site"), "site", SITES),
        digests=digests,
        emosteer_version=_check.optional_text(data, "emosteer_version") or "unknown",
    )


def _base_model(entry: Mapping[str, Any]) -> BaseModel:
    texts = {
        name: _check.optional_text(entry, name, f"base_model.{name}")
        for name in ("repo_id", "revision", "weights_variant", "fingerprint")
    }
    if texts["repo_id"] is not None and not is_repo_id(texts["repo_id"]):
        _check.fail("base_model.repo_id is not the name of a repository")
    if texts["fingerprint"] is not None and not _SHA256.fullmatch(texts["fingerprint"]):
        _check.fail("base_model.fingerprint is not a sha256")
    return BaseModel(
        _check.text(entry.get("model_type"), "base_model.model_type"),
        _check.whole(entry.get("num_hidden_layers"), "base_model.num_hidden_layers", 1, 1_000_000),
        _check.whole(entry.get("hidden_size"), "base_model.hidden_size", 1, 1_000_000),
        **texts,
    )


def _emotions(entries: Any) -> dict[str, EmotionInfo]:
    if not isinstance(entries, list) or not 0 < len(entries) <= MAX_EMOTIONS:
        _check.fail(f"emotions is not a list of 1 to {MAX_EMOTIONS} entries")
    emotions: dict[str, EmotionInfo] = {}
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not EMOTION_NAME.fullmatch(name) or name in emotions:
            _check.fail(f"{str(name)[:70]!r} is not the name of an emotion, or stands twice")
        labels = entry.get("labels", {})
        if not isinstance(labels, dict) or not all(map(LANGUAGE.fullmatch, labels)):
            _check.fail(f"the labels of {name} are not an object of languages")
        emotions[name] = EmotionInfo(
            {language: _check.optional_text(labels, language, f"a label of {name}") or "" for language in labels},
            _check.optional_number(entry.get("valence"), f"the valence of {name}", -1, 1),
            _check.optional_number(entry.get("arousal"), f"the arousal of {name}", -1, 1),
            _check.optional_text(entry, "source", f"the source of {name}"),
        )
    return emotions


def _dose(name: str, entry: Any, data: Mapping[str, Any], emotions: Mapping[str, EmotionInfo], depth: int) -> Dose:
    at = f"the dose of {name[:70]!r}"
    if name not in emotions or not isinstance(entry, dict):
        _check.fail(f"{at} is of no emotion in the file, or not an object")
    layers = _check.layers(entry.get("layers"), at, depth)
    if not set(layers) <= set(data["layers"]):
        _check.fail(f"{at} names layers that the file does not have")
    weights = _check.numbers(entry.get("weights"), f"{at}: weights", -1_000, 1_000)
    if len(weights) != len(layers):
        _check.fail(f"{at} has not one weight a layer")
    return Dose(
        _check.number(entry.get("dose"), at, 0, 1_000),
        layers,
        weights,
        _choice(data, entry.get("scope", "all"), f"{at}: scope", SCOPES),
        _check.optional_number(entry.get("budget"), f"{at}: budget", 0, 1_000),
        _check.optional_number(entry.get("cost"), f"{at}: cost", -1_000, 1_000),
        _check.optional_number(entry.get("hit_rate"), f"{at}: hit_rate", 0, 1),
        _check.optional_text(entry, "stopped", f"{at}: stopped"),
        _check.optional_number(entry.get("divergence"), f"{at}: divergence", 0, 1_000),
    )


def _extraction(entry: dict[str, Any]) -> dict[str, Any]:
    for name in ("method", "pooling", "concepts", "concepts_digest"):
        _check.optional_text(entry, name, f"extraction.{name}")
    for name in ("stability", "counts"):
        for key, value in _check.mapping(entry.get(name, {}), f"extraction.{name}").items():
            _check.optional_number(value, f"extraction.{name} of {key[:70]!r}", -1e9, 1e9)
    languages = entry.get("languages", [])
    if not isinstance(languages, list) or not all(isinstance(n, str) and LANGUAGE.fullmatch(n) for n in languages):
        _check.fail("extraction.languages is not a list of languages")
    return entry


def _choice(data: Mapping[str, Any], value: Any, name: str, choices: tuple[str, ...]) -> str:
    """Check one of a few texts; any other may be of a later version."""
    if not isinstance(value, str):
        _check.fail(f"{name} is missing or not a text")
    if value not in choices:
        _needs_later(data, f"its {name} is {value[:40]!r}, this emosteer knows {', '.join(choices)}")
    return value
