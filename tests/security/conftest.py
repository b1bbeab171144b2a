"""The misbehaving server of the data set tests serves here, too."""

from tests.datasets.conftest import _own_folders, reply, server

__all__ = ["_own_folders", "reply", "server"]
