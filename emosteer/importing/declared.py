"""What a file says of its vectors: one that is not for adding to the output of blocks as it is, is refused.

Files that are alike in names, dtypes and shapes may be meant for different things. A direction that is to be removed
would, added, push towards what it is to remove, and nothing would show it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from emosteer._util import strict_json
from emosteer.errors import FormatError, warn
from emosteer.importing.contents import Contents
from emosteer.importing.names import is_block_output, names_site

if TYPE_CHECKING:
    from torch import Tensor

# Fields by what they are about. The last part of a name counts: `glp.mode`, `dspark.mode` and `mode` are one.
_OPERATION = {
    *("mode", "operation", "op", "operator", "apply", "apply_mode", "application", "intervention"),
    *("intervention_type", "intervention_mode", "steering_mode", "steer_mode", "steering_operation", "steering_type"),
}
_METHOD = {"method", "type", "kind", "algorithm", "vector_type", "steering_method"}
_SITE = {
    *("hook_point", "hookpoint", "hook", "hook_name", "hook_site", "site", "injection_site", "injection_point"),
    *("intervention_site", "intervention_point", "module", "module_name", "module_type", "submodule", "sublayer"),
    *("component", "layer_type", "location", "stream", "act_name", "activation_name", "layer_name", "layer_path"),
}
_LAYER = {"layer", "layers", "layer_ids", "layer_index", "target_layer", "target_layers"}
_LENGTH = {
    *("norm", "norm_type", "normalized", "normalised", "is_normalized", "is_normalised", "normalization"),
    *("normalisation", "unit_norm"),
}
_NORMALISE = {  # which may mean the vectors or the stream
    *("normalize", "normalise", "normalize_vectors", "norm_mode", "norm_preserving", "preserve_norm", "keep_norm"),
    *("renormalize", "renormalise", "rescale", "rescale_norm"),
}
_FACTOR = {
    *("alpha", "alpha_default", "default_alpha", "coefficient", "coeff", "multiplier", "scale", "default_scale"),
    *("strength", "default_strength", "steering_coefficient"),
}
_COUNTING = {"layer_convention", "layer_indexing", "layer_index_base", "index_base", "layer_base", "layer_offset"}
_FURTHER = {"rank": "1", "dir_scales": "", "layer_scales": ""}  # field → the one value that changes nothing

_ADDED = re.compile(
    r"add|adds|added|adding|additive|addition|(additive|activation|vector)_(add|addition|steering)|actadd|act_add|caa|"
    r"contrastive_activation_addition|sum|plus|\+"
)
_NOT_ADDED = re.compile(r"project|ablat|abliter|orthogonal|clamp|replace|overwrite|rotat|angular|multipl|affine|reft")
_OUTPUT = re.compile(
    r"(residual|resid|residual_stream)(_post)?(_(layer|block))?|post_(layer|block)|(decoder_)?(layer|block)(_output)?|"
    r"l_out|output"
)
_OFF = {"", "none", "null", "false", "no", "off", "0", "raw"}
_UNIT = {"unit", "unit_norm", "l2", "l2_norm", "unit_l2", "unit_length", "true", "yes", "1", "1.0"}

_AS_IT_IS = "Save its tensors as they are to be added, without that field."

__all__ = ["check_declared", "check_factor"]


def check_declared(contents: Contents, file: str) -> None:
    """Check that nothing that a file says of its vectors makes them something else than what is imported.

    Args:
        contents: Of the file.
        file: Its name, for errors.

    Raises:
        FormatError: The vectors are not for adding, not of block outputs, or not as long as the file says.
    """
    for name, value, said in _fields(contents.declared, file):
        text = _text(value)
        if name in _OPERATION and text not in _OFF and not _ADDED.fullmatch(text):
            _not_added(said)
        if name in _METHOD and _NOT_ADDED.search(text):
            _not_added(said)
        if name in _FURTHER and text not in {"", _FURTHER[name]}:
            _not_added(said)
        if (name in _SITE and not _of_blocks(str(value), text)) or (name in _LAYER and names_site(str(value))):
            raise FormatError(
                f"{said}, expected block outputs.",
                "The input of block N is the output of block N - 1: save its tensors so, without that field."
                if re.search(r"pre|input|hidden", text)
                else "Make it anew from them: layer_type='decoder_block' in steering-vectors, hook_resid_post in "
                "TransformerLens.",
            )
        if name in _NORMALISE and text not in _OFF:
            raise FormatError(f"{said}, expected vectors that are added as they are.", _AS_IT_IS)
        if name in _LENGTH:
            _check_length(text, said, contents.arrays)
        if name in _COUNTING and not re.fullmatch(r"(block|layer)s?(_output)?|.*(0|zero).*", text):
            raise FormatError(
                f"{said}, expected layers counted from 0, where 0 is the output of the first block.",
                "Save its tensors under such numbers, without that field.",
            )
        if name == "layer_ids_zero_based":
            _check_layers(str(value), said, contents.arrays)


def check_factor(contents: Contents, file: str, coefficient: float) -> None:
    """Warn if a file names another factor than the caller.

    Args:
        contents: Of the file.
        file: Its name, for the warning.
        coefficient: The caller's factor.
    """
    for name, value, said in _fields(contents.declared, file):
        factor = _number(_text(value)) if name in _FACTOR else None
        if factor is not None and factor not in (1.0, coefficient):
            warn(
                f"{said}, the vectors are imported with {coefficient:g}. Where that factor is not in them already: "
                f"coefficient={factor:g}, or --coefficient {factor:g}."
            )


def _fields(declared: Mapping[str, Any], file: str) -> Iterator[tuple[str, Any, str]]:
    """Yield every field: the last part of its name, its value, and what to say of it."""
    for key, value in _flat(declared):
        name = re.split(r"[./]", key)[-1].lower().replace("-", "_")
        yield name, value, f"{file} says {key[:40]!r} = {str(value)[:60]!r}"


def _flat(declared: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields that are no objects or lists; metadata of safetensors are texts, of which some are JSON."""
    for key, value in declared.items():
        inside = value
        if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
            try:
                inside = strict_json.loads(value)
            except ValueError:
                inside = value
        if isinstance(inside, dict):
            yield from _flat(inside)
        elif isinstance(inside, list):
            yield from ((key, item) for item in inside if not isinstance(item, (dict, list)))
        else:
            yield key, value


def _text(value: object) -> str:
    return re.sub(r"[\s-]+", "_", "" if value is None else str(value).strip().lower())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _not_added(said: str) -> NoReturn:
    raise FormatError(
        f"{said}, expected vectors that are added.",
        "To remove their component instead, save its tensors without that field, import them, and steer with "
        "operation='ablate'.",
    )


def _of_blocks(value: str, text: str) -> bool:
    """Return whether a field about the site means block outputs, or says nothing of it."""
    site = re.sub(r"_?\d+", "", text).removeprefix("hook_")
    return text in _OFF or not site or is_block_output(value) or _OUTPUT.fullmatch(site) is not None


def _check_length(text: str, said: str, arrays: Mapping[str, Tensor]) -> None:
    """Check that vectors that are said to be of length 1 are."""
    if text in _OFF or (_number(text) not in (None, 1.0)):  # a length that was measured
        return
    lengths = [array.double().norm(dim=-1).flatten() for array in arrays.values() if array.is_floating_point()]
    if text not in _UNIT or not all(bool((((n - 1).abs() < 1e-2) | (n == 0)).all()) for n in lengths):
        raise FormatError(f"{said}, and its vectors are not all of length 1.", _AS_IT_IS)


def _check_layers(value: str, said: str, arrays: Mapping[str, Tensor]) -> None:
    declared = {int(number) for number in re.findall(r"\d+", value)}
    named = {int(match[0]) for key in arrays if (match := re.search(r"\d+", key))}
    if declared and declared != named:
        raise FormatError(
            f"{said}, and its tensors are named for the layers {', '.join(map(str, sorted(named)))[:60]}.",
            "Get the file anew from where it came.",
        )
