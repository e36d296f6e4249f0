from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def measured() -> Path:
    """The folder of measured spectra."""
    given = os.environ.get("XAS_LIVE_TEST_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not (folder / "measured").is_dir():
        pytest.skip("no measured spectra: set XAS_LIVE_TEST_DATA to the folder that holds measured/")
    return folder / "measured"
