"""The notice of a spot instance's end, as AWS's metadata service gives it."""

from __future__ import annotations

import subprocess
from urllib.error import HTTPError, URLError

import pytest

from infra.aws import spot_notice
from tests.services.spot_metadata import spot_metadata


def test_the_notice_says_how_many_seconds_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    with spot_metadata() as metadata:
        monkeypatch.setattr(spot_notice, "METADATA", metadata.uri)
        assert spot_notice.seconds_left() is None
        metadata.take_away(in_s=100)
        left = spot_notice.seconds_left()
        assert left is not None
        assert 95 < left <= 100
        metadata.take_away(in_s=-10)
        assert spot_notice.seconds_left() == 0


def test_a_service_that_is_away_or_refuses_is_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    with spot_metadata() as metadata:
        monkeypatch.setattr(spot_notice, "METADATA", f"{metadata.uri}/elsewhere")
        with pytest.raises(HTTPError):
            spot_notice.seconds_left()
    with pytest.raises(URLError):
        spot_notice.seconds_left()


def test_the_watch_goes_on_until_the_node_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Ray that is not up yet does not end it."""
    drained: list[float] = []
    with spot_metadata() as metadata:
        monkeypatch.setattr(spot_notice, "METADATA", metadata.uri)
        monkeypatch.setattr(spot_notice, "POLL_S", 0.01)

        def drain(seconds: float) -> None:
            drained.append(seconds)
            if len(drained) == 1:
                raise subprocess.CalledProcessError(1, "ray")

        monkeypatch.setattr(spot_notice, "drain", drain)
        metadata.take_away(in_s=100)
        spot_notice.main()
    assert len(drained) == 2
