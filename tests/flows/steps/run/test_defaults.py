"""Settings hold where a flow's parameter was left alone."""

from __future__ import annotations

import inspect

import pytest

from blocks.settings import Settings
from flows.import_creators import import_creators
from flows.import_posts import import_posts
from flows.steps.run.request import RunRequest
from flows.track_hashtags import track_hashtags


def settings(**more: object) -> Settings:
    return Settings(_env_file=None, **more)


def test_what_was_left_alone_is_the_settings() -> None:
    mine = settings(tagtrail_max_spend_usd_per_run=0.5, tagtrail_max_age_hours=3, tagtrail_import_reuse_hours=1)
    request = RunRequest().by_settings(mine)
    assert (request.max_spend_usd, request.max_age_hours, request.reuse_hours) == (0.5, 3, 1)


def test_a_parameter_comes_before_the_settings() -> None:
    mine = settings(tagtrail_max_spend_usd_per_run=0.5, tagtrail_max_age_hours=3, tagtrail_import_reuse_hours=1)
    request = RunRequest(max_spend_usd=2, max_age_hours=0, reuse_hours=0).by_settings(mine)
    assert (request.max_spend_usd, request.max_age_hours, request.reuse_hours) == (2, 0, 0)


@pytest.mark.parametrize("cap", [None, 50.0])
def test_a_default_that_may_have_been_typed_is_never_overstepped(cap: float | None) -> None:
    assert RunRequest().by_settings(settings(tagtrail_max_spend_usd_per_run=cap)).max_spend_usd == 5


def test_settings_as_they_come_change_nothing() -> None:
    assert RunRequest().by_settings(settings()) == RunRequest()


@pytest.mark.parametrize("flow", [track_hashtags, import_posts, import_creators])
def test_signatures_have_the_same_defaults(flow: object) -> None:
    left = inspect.signature(flow.fn).parameters  # type: ignore[attr-defined]
    for name in ("max_spend_usd", "max_age_hours", "reuse_hours"):
        assert left[name].default == getattr(RunRequest(), name)
