"""Where a Hugging Face model lies: a folder, or a hub id resolved to the folder of its cached snapshot.

Cache first, network second and with short patience: without either the answer is one line within a few seconds. No
torch and no transformers here, so that a wrong name is answered before they are imported. ``HF_HUB_OFFLINE``,
``HF_HOME`` and ``HF_ENDPOINT`` mean what they mean to huggingface_hub.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

from speechbias.errors import InputError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]*[A-Za-z0-9]")
PATIENCE = 3.0  # seconds for the hub's first answer
SETTINGS = ("config.json", "preprocessor_config.json", "processor_config.json")
SAFE = re.compile(r"model(-\d+-of-\d+)?\.safetensors(\.index\.json)?")
PICKLED = re.compile(r"pytorch_model(-\d+-of-\d+)?\.bin(\.index\.json)?")  # transformers reads them with weights_only


def is_hub_id(model: str) -> bool:
    """Whether a name has the form ``organisation/name``."""
    return HUB_ID.fullmatch(model) is not None and not model.endswith((".npz", ".pt", ".pth", ".ckpt"))


def weight_files(names: Sequence[str]) -> list[str]:
    """The files among ``names`` that hold a model's weights, safetensors before pickles; sorted."""
    safe = sorted(name for name in names if SAFE.fullmatch(name))
    return safe or sorted(name for name in names if PICKLED.fullmatch(name))


def find_snapshot(hub_id: str) -> Path:
    """Folder of a hub model's files, from the cache or downloaded. InputError without cache and network."""
    return _cached(hub_id) or _downloaded(hub_id)


def _cached(hub_id: str) -> Path | None:
    """The snapshot in the cache, unless it lacks weights (a download that was broken off)."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (0.3 s that no other MODEL has to pay)
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    try:
        folder = Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, OSError, ValueError):
        return None
    names = [path.name for path in folder.iterdir() if path.exists()]
    return folder if "config.json" in names and weight_files(names) else None


def _downloaded(hub_id: str) -> Path:
    """Download the settings and weights of a hub model, nothing else, into huggingface_hub's cache."""
    from huggingface_hub import HfApi, errors, snapshot_download  # noqa: PLC0415

    try:
        info = _within(PATIENCE, lambda: HfApi().model_info(hub_id, timeout=PATIENCE))
        names = [file.rfilename for file in info.siblings or ()]
        wanted = [name for name in SETTINGS if name in names] + weight_files(names)
        with _quiet_hub():
            return Path(snapshot_download(hub_id, revision=info.sha, allow_patterns=wanted, etag_timeout=PATIENCE))
    except errors.GatedRepoError:
        problem = "is gated; accept its terms on the hub and log in with: hf auth login"
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        problem = "is no public model on the Hugging Face hub (and no folder here); check the spelling"
    except Exception:  # noqa: BLE001 (which HTTP client raises differs between versions of huggingface_hub)
        problem = (
            f"is neither a folder here nor in the Hugging Face cache, and the hub gives no answer; on "
            f"a machine with network run: hf download {hub_id} --local-dir FOLDER, copy FOLDER here and pass its path"
        )
    raise InputError(f"{hub_id} {problem}")


def _within(seconds: float, work: Callable[[], Any]) -> Any:
    """Result of ``work``, or TimeoutError: a name server that never answers is under no timeout of the HTTP client."""
    outcome: dict[str, Any] = {}

    def run() -> None:
        try:
            outcome["result"] = work()
        except Exception as error:  # noqa: BLE001 (raised below, where the caller sees it)
            outcome["error"] = error

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if "error" in outcome:
        raise outcome["error"]
    if "result" not in outcome:
        raise TimeoutError
    return outcome["result"]


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """No progress bars of huggingface_hub inside: the library never prints."""
    from huggingface_hub.utils.tqdm import (  # noqa: PLC0415
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    already = are_progress_bars_disabled()
    if not already:
        disable_progress_bars()
    try:
        yield
    finally:
        if not already:
            enable_progress_bars()
