"""What every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def measured() -> Path:
    """Other people's measured spectra: read in place, never copied into the repository."""
    given = os.environ.get("XAS_LIVE_TEST_DATA")
    folder = Path(given) if given else ROOT.parent / "shared" / "data"
    if not (folder / "measured").is_dir():
        pytest.skip("no measured spectra: set XAS_LIVE_TEST_DATA to the folder that holds measured/")
    return folder / "measured"


@pytest.fixture(autouse=True, scope="session")
def _own_user_folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Anchors and spools of the tests never mix with the user's."""
    os.environ["XAS_LIVE_HOME"] = str(tmp_path_factory.mktemp("xas_live_home"))
