"""The libpcaps that the tests of the patches compare, each built when the first test asks for it."""

from __future__ import annotations

import pytest

from support import patches
from support.patches import NEWEST, SANITIZED, THREADED, VERSIONS, Built, Workshop


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("patches"))


@pytest.fixture(scope="session", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    """Every version that has a series."""
    return str(request.param)


@pytest.fixture(scope="session")
def stock(workshop: Workshop, version: str) -> Built:
    return workshop.get(version, patched=False)


@pytest.fixture(scope="session")
def patched(workshop: Workshop, version: str) -> Built:
    return workshop.get(version)


@pytest.fixture(scope="session")
def newest_stock(workshop: Workshop) -> Built:
    return workshop.get(NEWEST, patched=False)


@pytest.fixture(scope="session")
def newest_patched(workshop: Workshop) -> Built:
    return workshop.get(NEWEST)


@pytest.fixture(scope="session")
def sanitized(workshop: Workshop) -> Built:
    """The newest one, patched, with ASan and UBSan."""
    return workshop.get(NEWEST, SANITIZED)


@pytest.fixture(scope="session")
def threaded(workshop: Workshop) -> Built:
    """The newest one, patched, with TSan."""
    return workshop.get(NEWEST, THREADED)


@pytest.fixture(scope="session")
def packets() -> int:
    return patches.packets()
