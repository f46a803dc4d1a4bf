"""Models by name: those that ship are what their cards say, and the Hub is one step away."""

import json
import shutil

import huggingface_hub
import pytest

import spikelfp_lab as sl
from spikelfp_lab.cohorts import simulated
from spikelfp_lab.errors import CheckpointError, ConfigError
from spikelfp_lab.models.named import SHIPPED, shipped


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_model_is_what_its_card_says(name):
    model, card = sl.load(name), json.loads((SHIPPED / name / "card.json").read_bytes())
    assert card["name"] == name and card["digest"] == model.digest()
    assert card["sessions"] == list(model.sessions) and card["seed"] == 0
    assert card["spikelfp_lab"] == sl.__version__
    assert all(0.5 < r2 < 1 for r2 in card["r2_test"].values())


def test_all_three_ship_in_less_than_five_megabytes():
    assert shipped() == [f"simulated/{name}" for name in ("causal", "distilled", "teacher")]
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*.*")) < 5e6


def test_a_shipped_student_decodes_a_session_nobody_saw():
    session = simulated.session(6, duration_s=240)
    own = {"as_session": "I/s05", "progress": False}
    latents = sl.encode(sl.load("simulated/distilled"), session, **own)
    r2 = sl.decode(latents, session).query("split == 'test' and readout == 'lagged'")["r2"]
    ridge = sl.decode(session["lfp"], session).query("split == 'test' and readout == 'lagged'")
    assert r2.mean() > 0.6 > ridge["r2"].mean()


def test_an_existing_folder_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sl.load("simulated/causal").save("simulated/distilled")
    assert sl.load("simulated/distilled").config.causal


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(CheckpointError, match=r"no folder simulated/student.*simulated/teacher"):
        sl.load("simulated/student")


def test_weights_that_the_card_is_not_about_are_refused(tmp_path):
    shutil.copytree(SHIPPED / "simulated/teacher", tmp_path / "a")
    card = json.loads((tmp_path / "a/card.json").read_bytes()) | {"sha256": "0" * 64}
    (tmp_path / "a/card.json").write_text(json.dumps(card))
    with pytest.raises(CheckpointError, match=r"not those that card\.json is about"):
        sl.load(tmp_path / "a")


class Hub:
    """A stand-in for the Hub: repositories are folders."""

    def __init__(self, root):
        self.root = root

    def create_repo(self, repo, exist_ok):
        (self.root / repo).mkdir(parents=True, exist_ok=exist_ok)

    def upload_folder(self, repo_id, folder_path, allow_patterns):
        for name in allow_patterns:
            if (folder_path / name).exists():
                shutil.copy(folder_path / name, self.root / repo_id)
        return type("Commit", (), {"oid": "abc123"})

    def snapshot_download(self, repo, revision, allow_patterns):
        if not (self.root / repo).exists() or revision not in (None, "abc123"):
            raise ConnectionError("404: no such repository")
        return str(self.root / repo)


def test_a_model_goes_to_the_hub_and_comes_back(tmp_path, monkeypatch):
    hub = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    model = sl.load("simulated/causal")
    address = model.push_to_hub("lab/student")
    assert address == "hf://lab/student@abc123"
    assert sorted(p.name for p in (tmp_path / "lab/student").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert sl.load(address).digest() == sl.load("hf://lab/student").digest() == model.digest()
    with pytest.raises(CheckpointError, match=r"hf://lab/other could not be fetched.*404"):
        sl.load("hf://lab/other")
    with pytest.raises(ConfigError, match="is no address"):
        sl.load("hf://lab")


def test_without_the_extra_one_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ConfigError, match=r"pip install \"spikelfp_lab\[hub\]\""):
        sl.load("hf://lab/student")
