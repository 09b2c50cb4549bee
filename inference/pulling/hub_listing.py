"""What a repository of a hub holds at one commit, and which of it a model needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference.pulling.errors import PullError
from inference.pulling.sources import HubSource

#: Seconds for the hub's answer to a question.
TIMEOUT = 20.0
MAX_FILES = 512
_PLAIN = re.compile(r"[A-Za-z0-9_][\w.+-]{0,254}", re.ASCII)
_SHARD_INDEX = "model.safetensors.index.json"
_TEXTS = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        _SHARD_INDEX,
    }
)
_MAX_TEXT_BYTES = 256 * 1024**2
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")


@dataclass(frozen=True, slots=True)
class HubAccess:
    """`endpoint` empty is the library's own; `token` empty is nobody."""

    endpoint: str = ""
    token: str = ""


@dataclass(frozen=True, slots=True)
class HubFile:
    """`sha256` or `git_sha1` is what its content must have; the hub names one of them."""

    name: str
    num_bytes: int
    sha256: str = ""
    git_sha1: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files to fetch, small ones first, at `commit`."""

    repository: str
    commit: str
    files: tuple[HubFile, ...]

    @property
    def total(self) -> int:
        return sum(file.num_bytes for file in self.files)

    def url_of(self, file: HubFile, access: HubAccess) -> str:
        from huggingface_hub import hf_hub_url

        return str(
            hf_hub_url(
                self.repository, file.name, revision=self.commit, endpoint=access.endpoint or None
            )
        )


def list_repository(source: HubSource, commit: str, access: HubAccess) -> Listing:
    """Ask the hub. Raises PullError that says whether it is the name, the right or the network."""
    info = _ask(source, commit, access)
    sha = str(info.sha or "")
    if not re.fullmatch(r"[0-9a-f]{40,64}", sha):
        raise PullError(f"The hub names no commit for {source.spelling}.")
    files = [_file(sibling) for sibling in info.siblings or ()]
    chosen = choose(files, source)
    return Listing(source.repository, sha, tuple(sorted(chosen, key=lambda file: file.num_bytes)))


def choose(files: Sequence[HubFile], source: HubSource) -> list[HubFile]:
    """The files that a model needs. Raises PullError where there are none that are served."""
    plain = [file for file in files if _PLAIN.fullmatch(file.name)]
    texts = [file for file in plain if file.name in _TEXTS and file.num_bytes <= _MAX_TEXT_BYTES]
    ggufs = [file for file in plain if file.name.lower().endswith(".gguf")]
    tensors = [file for file in plain if file.name.endswith(".safetensors")]
    # Some repositories hold the same weights twice, once in their maker's own layout.
    tensors = [file for file in tensors if file.name.startswith("model")] or tensors
    if source.file:
        named = [file for file in ggufs if file.name == source.file]
        if not named:
            raise PullError(f"{source.repository} has no file {source.file}.{_known(ggufs)}")
        return named
    if tensors:
        if len(texts) + len(tensors) > MAX_FILES:
            raise PullError(f"{source.repository} has more than {MAX_FILES} files.")
        return [*texts, *tensors]
    if len(ggufs) == 1:
        return ggufs
    if ggufs:
        raise PullError(
            f"{source.repository} has several GGUF files: name one, as in "
            f"{source.spelling}:{ggufs[0].name}.{_known(ggufs)}"
        )
    if any(file.name.endswith(_PICKLES) for file in files):
        raise PullError(
            f"{source.repository} has its weights only in pickle files, which may run code when "
            "they are read: they are refused. Look for a revision with safetensors."
        )
    raise PullError(f"{source.repository} holds no safetensors and no GGUF file.")


def _ask(source: HubSource, commit: str, access: HubAccess) -> Any:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi(endpoint=access.endpoint or None, token=access.token or False)
    try:
        return api.model_info(
            source.repository,
            revision=commit or source.revision,
            files_metadata=True,
            timeout=TIMEOUT,
        )
    except GatedRepoError as error:
        raise PullError(f"{source.repository} asks for consent first. {_with_token()}") from error
    except RevisionNotFoundError as error:
        named = commit or source.revision
        raise PullError(f"{source.repository} has no revision '{named}'.") from error
    except RepositoryNotFoundError as error:
        raise PullError(
            f"The hub has no model {source.repository}, or shows it to nobody. {_with_token()}"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no status"
        raise PullError(f"The hub answered with {status}. {_with_token()}") from error
    except Exception as error:
        raise PullError(
            f"The hub cannot be reached ({type(error).__name__}). Check the network and "
            "LLAMA_HUB_ENDPOINT, then pull again."
        ) from error


def _file(sibling: Any) -> HubFile:
    lfs = sibling.lfs
    size = int(lfs.size if lfs else sibling.size or 0)
    sha256 = str(lfs.sha256) if lfs else ""
    return HubFile(str(sibling.rfilename), size, sha256, "" if lfs else str(sibling.blob_id or ""))


def _known(files: Sequence[HubFile]) -> str:
    names = ", ".join(file.name for file in files[:20])
    return f" There are: {names}." if names else ""


def _with_token() -> str:
    return "A token in LLAMA_HUB_TOKEN opens what its owner may read."
