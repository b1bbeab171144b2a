"""What the tests of real components share. Where a component is missing they skip, or fail if it was promised."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))

import docker_host as docker_helpers


def require(available: Any, reason: str) -> None:
    """Skips the test where a component is missing; fails where SPLATBENCH_REQUIRE_ENGINES=1 promises all of them."""
    if available:
        return
    if os.environ.get("SPLATBENCH_REQUIRE_ENGINES") == "1":
        pytest.fail(f"{reason} (and SPLATBENCH_REQUIRE_ENGINES=1 says that everything is here)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """DOCKER_HOST of a daemon that answers: the user's, else a private one. It is in the environment meanwhile."""
    if docker_helpers.daemon_answers():
        yield os.environ.get("DOCKER_HOST", "")
        return
    require(docker_helpers.can_start(), "needs a docker daemon, or root and dockerd to start a private one")
    with docker_helpers.private_daemon() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", address)
        yield address


@pytest.fixture(scope="session")
def base_image(docker_host: str) -> str:
    """An image that holds this machine's Python once a task adds `docker_host.system_mounts()` to its mounts."""
    return docker_helpers.import_base_image()
