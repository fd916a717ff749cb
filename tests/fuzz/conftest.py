from __future__ import annotations

from tests.sweep.conftest import empty_database

__all__ = ["empty_database"]
