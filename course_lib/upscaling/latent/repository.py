"""Where a pipeline's files are: in a folder of the user's, or in a repository on the hub.

Of a repository, no more is fetched than a caller names; what the hub's cache has is not fetched
again, and is enough where there is no network.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..interface import UpscalingError

INDEX = "model_index.json"
TIMEOUT = 10  # seconds that the hub may take to answer
SMALL_MODEL = 'the small model that ships, load("latent")'
ALTERNATIVES = (
    "Instead you can give a local folder made by save_pretrained, the id of a copy on the hub "
    f"('owner/name'), or use {SMALL_MODEL}."
)


class PublishedError(UpscalingError):
    """Published weights that cannot be had or loaded; the message says what can be done."""


@dataclass(frozen=True)
class Repository:
    """The files of a pipeline: ``sizes`` in bytes by name, ``None`` where the hub does not tell.

    ``folder`` has them on disk; without one they are on the hub, in the version ``commit``.
    """

    source: str
    revision: str | None
    local: bool
    sizes: dict[str, int | None]
    folder: Path | None = None
    commit: str | None = None

    @property
    def stored(self) -> Path:
        """Where its files are, or will be once they are downloaded."""
        if self.folder:
            return self.folder
        from huggingface_hub.constants import HF_HUB_CACHE

        return Path(HF_HUB_CACHE)

    def here(self, name: str) -> Path | None:
        """Return where a file is on disk, in the folder or in the hub's cache."""
        if self.folder:
            path = self.folder / name
            return path if path.is_file() else None
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(self.source, name, revision=self.commit)
        return Path(found) if isinstance(found, str) else None

    def json(self, name: str) -> dict[str, Any]:
        """Return what a small file says; on the hub, it is fetched."""
        if name not in self.sizes:
            raise self.missing(name)
        path = self.here(name) or self.fetch([name]) / name
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise PublishedError(f"{path} is damaged: {error}") from error

    def fetch(self, names: list[str]) -> Path:
        """Download the named files unless they are there, and return the folder that has all."""
        absent = [name for name in names if self.here(name) is None]
        if absent and self.folder:
            raise self.missing(absent[0])
        if absent:
            from huggingface_hub import snapshot_download

            try:
                folder = Path(
                    snapshot_download(self.source, revision=self.commit, allow_patterns=absent)
                )
            except Exception as error:
                raise explained(error, self.source, self.revision) from error
            if lost := [name for name in names if not (folder / name).is_file()]:
                raise self.missing(lost[0])
            return folder
        folder = self.here(names[0])
        for _ in Path(names[0]).parts:
            folder = folder.parent
        return folder

    def missing(self, name: str) -> PublishedError:
        """Return the error for a file that is not there."""
        where = str(self.folder or self.source)
        if self.folder and not self.local:
            return PublishedError(
                f"the hub cannot be reached, and of {self.source} your cache has not all that is "
                f"needed: {name} is missing. Try again with a network. {ALTERNATIVES}"
            )
        return PublishedError(f"{where} is not complete: {name} is missing. {ALTERNATIVES}")


def opened(source: str, revision: str | None = None) -> Repository:
    """Return what a folder or the repository of an id ('owner/name') holds.

    Only the list of its files is asked for. Raises :class:`PublishedError` where there is
    nothing of that name, access is refused, or the hub cannot be reached.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        if revision is not None:
            raise PublishedError(f"{path} is a folder, which has no revision {revision!r}")
        repository = Repository(source, None, True, _listed(path), folder=path)
    elif re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", source) and not path.exists():
        repository = _on_hub(source, revision)
    else:
        what = "is a file" if path.exists() else "does not exist"
        raise PublishedError(
            f"{source} {what}; expected the folder of a pipeline, or the id of a repository on "
            "the hub, as 'owner/name'"
        )
    if INDEX not in repository.sizes:
        raise PublishedError(
            f"{source} holds no pipeline: it has no {INDEX}. Expected what save_pretrained of "
            "diffusers writes"
        )
    return repository


def _listed(folder: Path) -> dict[str, int | None]:
    files = [file for file in (folder / INDEX, *folder.glob("*/*")) if file.is_file()]
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}


def _on_hub(source: str, revision: str | None) -> Repository:
    from huggingface_hub import HfApi, try_to_load_from_cache

    try:
        found = HfApi().model_info(source, revision=revision, files_metadata=True, timeout=TIMEOUT)
    except Exception as error:
        index = try_to_load_from_cache(source, INDEX, revision=revision)
        if _unreachable(error) and isinstance(index, str):
            folder = Path(index).parent
            return Repository(source, revision, False, _listed(folder), folder=folder)
        raise explained(error, source, revision) from error
    sizes = {file.rfilename: file.size for file in found.siblings or ()}
    return Repository(source, revision, False, sizes, commit=found.sha)


def _unreachable(error: BaseException) -> bool:
    """Whether there is no answer, or only that the server is in trouble."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 0
        return status == 429 or status >= 500
    # What asks the network is httpx in newer releases of the hub's library, and was requests.
    return type(error).__module__.startswith(("httpx", "httpcore", "requests"))


def explained(error: BaseException, source: str, revision: str | None) -> PublishedError:
    """Return an error that says in plain words what went wrong with a repository."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        text = (
            f"{source} is gated: its owners let in only who has asked. Visit its page on the hub, "
            "accept the terms, and log in with `hf auth login`."
        )
    elif isinstance(error, errors.RepositoryNotFoundError):
        text = (
            f"the hub has no repository {source} that is open to you, and there is no folder of "
            "that name. It may have been moved, taken away or made private. If you have loaded "
            "it before, the environment variable HF_HUB_OFFLINE=1 makes use of your cache."
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        text = f"{source} has no revision {revision!r}. Leave it out for the newest."
    elif isinstance(error, errors.DisabledRepoError):
        text = f"{source} has been disabled on the hub."
    elif isinstance(error, errors.EntryNotFoundError) and not _unreachable(error):
        text = f"a file of {source} is missing on the hub: {_first_line(error)}."
    elif _unreachable(error):
        offline = isinstance(error, errors.OfflineModeIsEnabled)
        why = "HF_HUB_OFFLINE is set" if offline else _first_line(error)
        text = f"the hub cannot be reached ({why}), and your cache does not have {source}."
    elif isinstance(error, OSError) and error.errno is not None:
        text = f"{source} could not be stored: {error}."
    else:
        text = f"{source} could not be fetched: {_first_line(error)}."
    return PublishedError(f"{text} {ALTERNATIVES}")


def _first_line(error: BaseException) -> str:
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return line if len(line) <= 150 else f"{line[:150]}…"
