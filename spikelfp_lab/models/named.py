"""Models by name: those that ship with the package, and those on the Hugging Face Hub."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from spikelfp_lab._guard import reading
from spikelfp_lab.errors import CheckpointError, ConfigError

SHIPPED = Path(__file__).with_name("shipped")
FILES = ["config.json", "model.safetensors", "card.json"]
_CURE = 'pip install "spikelfp_lab[hub]"'


def shipped() -> list[str]:
    """Names of the models that come with the package.

    >>> "simulated/distilled" in shipped()
    True
    """
    return sorted(p.parent.relative_to(SHIPPED).as_posix() for p in SHIPPED.glob("*/*/config.json"))


def named(name: str) -> Path:
    """The folder of a model that ships, or of one on the Hub, which is downloaded first."""
    if name.startswith("hf://"):
        return _from_hub(name)
    if name in shipped():
        return SHIPPED / name
    there = ", ".join(shipped())
    raise CheckpointError(
        f"There is no folder {name}, and no model of that name; these ship: {there}"
    )


def check_card(folder: Path) -> None:
    """Refuse weights that are not those that the card beside them is about, if there is one."""
    card = folder / "card.json"
    if card.is_file():
        known = json.loads(card.read_bytes())["sha256"]
        if hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest() != known:
            raise ValueError("the weights are not those that card.json is about")


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise ConfigError(
            f"models on the Hugging Face Hub need huggingface_hub: {_CURE}"
        ) from error
    return huggingface_hub


def _from_hub(address: str) -> Path:
    """``hf://owner/name``, or ``hf://owner/name@revision``."""
    found = re.fullmatch(r"hf://([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?", address)
    if not found:
        raise ConfigError(f"{address!r} is no address: give hf://owner/name or .../name@revision")
    hub, (repo, revision) = _hub(), found.groups()
    cure = "Check owner, name, revision and the network; a private one needs a login (hf auth)."
    with reading(address, "could not be fetched", cure, kind=CheckpointError):
        return Path(hub.snapshot_download(repo, revision=revision, allow_patterns=FILES))


def push(folder: Path, repo: str) -> str:
    """Upload a model's folder to the Hub; gives the address for ``load``."""
    hub = _hub()
    cure = "Check the name, the network, and that you are logged in (hf auth login)."
    with reading(repo, "could not be uploaded", cure, kind=CheckpointError):
        hub.HfApi().create_repo(repo, exist_ok=True)
        done = hub.HfApi().upload_folder(repo_id=repo, folder_path=folder, allow_patterns=FILES)
    return f"hf://{repo}@{done.oid}"
