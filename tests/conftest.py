"""What all tests share: one thread a worker, and where optional real recordings lie."""

import os
from pathlib import Path

import pytest
import torch

# Two workers on two cores: more threads than that fight each other.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """A folder with the parity files and real recordings beside the checkout; tests that need it
    skip without.
    """
    folder = Path(os.environ.get("SPIKELFP_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no reference data: {folder} does not exist (set SPIKELFP_SHARED)")
    return folder
