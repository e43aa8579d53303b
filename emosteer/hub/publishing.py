"""Publishing vectors on the Hub: one commit on top of the state that was looked at, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from emosteer._util.layout import CARD_FILE, CONFIG_FILE, LIMITS
from emosteer._util.own_files import is_own
from emosteer._util.text import checked
from emosteer.errors import HubError, InputError, warn
from emosteer.hub.client import check_names, client, hub_errors
from emosteer.hub.repository import COMMIT, Repository

if TYPE_CHECKING:
    from huggingface_hub import HfApi, ModelInfo

OPEN_LICENSES = {
    *("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "isc", "unlicense"),
    *("zlib", "artistic-2.0", "afl-3.0", "ecl-2.0", "ms-pl", "ncsa", "postgresql", "wtfpl", "pddl", "odc-by"),
}
"""Licences, as the Hub names them, that let what is made with a model have a licence of its own."""

WEIGHTS = (
    *(".safetensors", ".gguf", ".bin", ".pt", ".pth", ".onnx", ".h5", ".msgpack", ".mlpackage", ".ckpt"),
    *("adapter_config.json", ".index.json"),
)
"""How the names of files end that a model or an adapter consists of."""

__all__ = ["Pushed", "push"]


@dataclass(frozen=True)
class Pushed:
    """The result of a push.

    Args:
        url: Of the commit, or of the pull request.
        commit: Its hash.
        pull_request: Its number, or None.
        files: Names of the files that were pushed.
        deleted: Names of files that were there and are no longer part of the set.
        changed: Whether anything was new; if not, there is no new commit.
    """

    url: str
    commit: str
    pull_request: int | None
    files: tuple[str, ...]
    deleted: tuple[str, ...]
    changed: bool


def push(
    files: Mapping[str, bytes],
    repo_id: str,
    *,
    base_model: str | None,
    licence: str | None,
    merge_card: Callable[[bytes, bytes, str], bytes],
    commit_message: str,
    subfolder: str | None = None,
    private: bool | None = None,
    create_pr: bool = False,
    revision: str | None = None,
    replace_card: bool = False,
    token: str | bool | None = None,
) -> Pushed:
    """Publish the files of a set of vectors, in one commit on top of what the Hub has at this moment.

    An existing card keeps what people wrote into it. Records and figures of an earlier push that are not among the
    files are deleted: they belong to other vectors.

    Args:
        files: Name → content.
        repo_id: `user/name`.
        base_model: The Hub model that the vectors are for, or None.
        licence: Of the vectors, or None.
        merge_card: Makes one card of the repository's, ours and the repository's name; raises `InputError` where it
            cannot.
        commit_message: Of the commit.
        subfolder: Where in the repository.
        private: Whether a new repository is private; by default as the owner's settings say.
        create_pr: Propose the change as a pull request.
        revision: Branch to commit to, created if it does not exist.
        replace_card: Let the card be exactly the one in `files`.
        token: As for `huggingface_hub`.

    Raises:
        HubError: The Hub does not take it, the repository holds something else than vectors, or somebody changed it
            meanwhile: nothing was written.
        InputError: The name cannot be one, or a branch is named for a pull request.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    check_names(repo_id, subfolder)
    for text in (commit_message, revision or ""):
        checked(text, "What a commit is given")
    if create_pr and revision is not None:
        raise InputError("A pull request is made against the main branch.", "Leave out the revision.")
    if revision is not None and COMMIT.fullmatch(revision):
        raise InputError("A push makes a commit, it cannot replace one.", "Name a branch.")
    prefix = f"{subfolder}/" if subfolder else ""
    api = client(token)
    _check_license(api, base_model, licence)
    with hub_errors(repo_id, writing=True):
        if not create_pr:
            api.create_repo(repo_id, private=private, exist_ok=True)
        there = api.model_info(repo_id)
    _check_visible(there, repo_id, private)
    head, names, ours = _place(there, repo_id, subfolder, token, files)
    if revision is not None:
        with hub_errors(repo_id, writing=True):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
            there = api.model_info(repo_id, revision=revision)
        head, names, ours = _place(there, repo_id, subfolder, token, files)
    if CARD_FILE in names and not replace_card:
        theirs = (head.fetch((CARD_FILE,)) / CARD_FILE).read_bytes()
        try:
            files = {**files, CARD_FILE: merge_card(theirs, files[CARD_FILE], repo_id)}
        except InputError as error:
            raise HubError(
                f"The card of {repo_id} cannot be merged with this one. {error}",
                "Mend it on the Hub, or replace it (--replace-card). Nothing was written.",
            ) from error
    # Where no vectors were, files of these names are somebody else's.
    stale = sorted(name for name in LIMITS if name in names and name not in files) if ours else []
    with hub_errors(repo_id, writing=True, committing=True):
        done = api.create_commit(
            repo_id,
            [
                *(CommitOperationAdd(prefix + name, content) for name, content in sorted(files.items())),
                *(CommitOperationDelete(prefix + name) for name in stale),
            ],
            commit_message=commit_message,
            revision=revision,
            create_pr=create_pr,
            parent_commit=head.commit,
        )
    url, changed = done.pr_url or done.commit_url, done.oid != head.commit
    return Pushed(url, done.oid, done.pr_num, tuple(sorted(files)), tuple(stale), changed)


def _check_license(api: HfApi, base: str | None, licence: str | None) -> None:
    """Warn where the base model's licence may not let the vectors have theirs."""
    ours = (licence or "").lower()
    if not ours:
        warn(
            "These vectors have no licence, so nobody knows what they may do with them. "
            'Give them one: dataclasses.replace(vectors, license="…")'
        )
    if base is None:
        return
    try:
        with hub_errors(base):
            data = api.model_info(base).card_data
    except HubError:  # not there or not to be seen; if the Hub is away, the push itself will say so
        return
    theirs = str((data.get("license") if data else None) or "").lower()
    if theirs and theirs not in {*OPEN_LICENSES, ours}:
        warn(
            f"{base} is under {theirs[:60]!r}, these vectors say {ours or 'nothing'!r}: its terms may bind what is "
            "made with it. See whether they let you share these, and under which licence."
        )


def _check_visible(there: ModelInfo, repo_id: str, private: bool | None) -> None:
    """Check that a repository is as visible as asked for."""
    if private is not None and there.private is not None and there.private != private:
        raise HubError(
            f"{repo_id} is {'private' if there.private else 'public'} already.",
            "Change that in its settings, or push without saying it. Nothing was written.",
        )


def _place(
    there: ModelInfo, repo_id: str, subfolder: str | None, token: str | bool | None, files: Collection[str]
) -> tuple[Repository, set[str], bool]:
    """Look at the place for the files.

    Returns:
        The place, the names of what it holds, and whether that is a set of vectors.

    Raises:
        HubError: It holds something else: a model, or files that would be replaced.
    """
    prefix = f"{subfolder}/" if subfolder else ""
    names = {name.removeprefix(prefix) for name in _names(there) if name.startswith(prefix)}
    head = Repository(repo_id, cast("str", there.sha), subfolder, token)
    if CONFIG_FILE in names and is_own(head.fetch((CONFIG_FILE,)) / CONFIG_FILE):
        return head, names, True
    replaced = [name for name in (CONFIG_FILE, *sorted(files)) if name in names and name != CARD_FILE]
    weights = [name for name in sorted(names) if "/" not in name and name.endswith(WEIGHTS)]
    if found := [*replaced, *weights]:
        raise HubError(
            f"{head.label} holds something else: {found[0]}, and no vectors of emosteer.",
            "Name another repository, or a subfolder of this one. Nothing was written.",
        )
    return head, names, False


def _names(there: ModelInfo) -> set[str]:
    """Names of the files in a repository."""
    if there.sha is None or there.siblings is None:
        raise HubError(f"The Hub does not say what {there.id} holds.", "Nothing was written: try again later.")
    return {sibling.rfilename for sibling in there.siblings}
