"""Model cards as the Hub reads them: the front matter, the tags made from it, and what it refuses."""

from __future__ import annotations

import re
from typing import Any

import yaml

_LICENSES = """
    apache-2.0 mit openrail openrail++ bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0
    bigcode-openrail-m afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0
    cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
    cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0
    cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl
    gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 lgpl-lr isc intel-research lppl-1.3c ms-pl apple-ascl apple-amlr
    mpl-2.0 odc-by odbl openmdw-1.0 osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl deepfloyd-if-license
    fair-noncommercial-research-license llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma unknown other
"""
LICENSES = _LICENSES.split()
RELATIONS = ("adapter", "finetune", "merge", "quantized")
REPO_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        doubled = {str(key) for key in keys if keys.count(key) > 1}
        if doubled:
            raise yaml.YAMLError(f"duplicated mapping key: {', '.join(sorted(doubled))}")
        return super().construct_mapping(node, deep)


def front_matter(card: str) -> dict[str, Any] | None:
    """The YAML between the first two lines of three dashes; None without any.

    Raises:
        yaml.YAMLError: It is not YAML.
    """
    found = re.match(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*\r?$", card, re.DOTALL | re.MULTILINE)
    return None if found is None else yaml.load(found[1], _Loader)


def words(value: Any) -> list[str]:
    """A string or a list of them, as a list."""
    return [value] if isinstance(value, str) else [str(word) for word in value or ()]


def tags_of(card: str, file_names: list[str]) -> list[str]:
    """The tags that the Hub shows: what the card says, what the files are, and what the text cites."""
    try:
        data = front_matter(card) or {}
    except yaml.YAMLError:
        data = {}
    kinds = [kind for kind in ("safetensors", "gguf") if any(name.endswith(f".{kind}") for name in file_names)]
    relation = data.get("base_model_relation")
    bases = words(data.get("base_model"))
    found = [
        *words(data.get("library_name")),
        *kinds,
        *words(data.get("tags")),
        *words(data.get("pipeline_tag")),
        *words(data.get("language")),
        *(f"dataset:{name}" for name in words(data.get("datasets"))),
        *(f"arxiv:{number}" for number in re.findall(r"arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})", card)),
        *(f"base_model:{name}" for name in bases),
        *(f"base_model:{relation}:{name}" for name in bases if relation),
        *(f"license:{name}" for name in words(data.get("license"))),
        "region:us",
    ]
    return list(dict.fromkeys(found))


def complaints(card: str) -> tuple[list[str], list[str]]:
    """Errors and warnings about a card, after the rules that the Hub applies to a push."""
    try:
        data = front_matter(card)
    except yaml.YAMLError as problem:
        return [f"YAML metadata is not valid: {problem}"], []
    if not data:
        return [], ["empty or missing yaml metadata in repo card"]
    if not isinstance(data, dict):
        return ["YAML metadata must be a mapping"], []
    errors = []
    for key in ("library_name", "pipeline_tag", "license_name", "license_link", "base_model_relation"):
        if key in data and not isinstance(data[key], str):
            errors.append(f'"{key}" must be a string')
    for key in ("tags", "datasets", "metrics", "language", "base_model", "license"):
        value = data.get(key, [])
        listed = isinstance(value, list) and all(isinstance(item, str) for item in value)
        if not listed and (key == "tags" or not isinstance(value, str)):
            errors.append(f'"{key}" must be {"" if key == "tags" else "a string or "}a list of strings')
    if errors:
        return errors, []
    errors += [f'"license" must be one of {LICENSES}' for name in words(data.get("license")) if name not in LICENSES]
    errors += [
        f'"{key}" with value "{name}" is not valid. Use a repository id'
        for key in ("base_model", "datasets")
        for name in words(data.get(key))
        if not REPO_ID.fullmatch(name)
    ]
    if data.get("base_model_relation", "adapter") not in RELATIONS:
        errors.append(f'"base_model_relation" must be one of {list(RELATIONS)}')
    if any(len(tag) > 100 for tag in data.get("tags", [])):
        errors.append("a tag must have at most 100 characters")
    return errors + _results_complaints(data.get("model-index", [])), []


def _results_complaints(index: Any) -> list[str]:
    """What is wrong with a `model-index`: every result needs a task, a dataset and metrics."""
    if not isinstance(index, list):
        return ['"model-index" must be an array']
    errors = []
    for i, model in enumerate(index):
        place = f"model-index[{i}]"
        if not isinstance(model, dict) or not isinstance(model.get("name"), str):
            errors.append(f'"{place}.name" is required')
            continue
        results = model.get("results")
        if not isinstance(results, list):
            errors.append(f'"{place}.results" is required')
            continue
        for j, result in enumerate(results):
            for key, needed in (("task", ["type"]), ("dataset", ["type", "name"]), ("metrics", ["type", "value"])):
                here = f"{place}.results[{j}].{key}"
                value = result.get(key) if isinstance(result, dict) else None
                parts = value if key == "metrics" else [value]
                if not isinstance(parts, list) or not parts or not all(isinstance(part, dict) for part in parts):
                    errors.append(f'"{here}" is required')
                    continue
                errors += [f'"{here}.{name}" is required' for part in parts for name in needed if name not in part]
    return errors
