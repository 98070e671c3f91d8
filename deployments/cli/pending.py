"""What is pending and why, in words: held, out of room or waiting, each with the one command that goes on."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from deployments.cli.terminal import counted

if TYPE_CHECKING:
    # Where there is no database none of it is loaded.
    from blocks.database.store.runs import Pending

SWEEP = "prefect deployment run collect-imports/sweep"


def lines(requests: list[Pending]) -> list[tuple[str, str]]:
    """A label and a text for each run whose request is not settled, and one for all that a sweep goes on with."""
    found = [_line(one) for one in requests if one.reason in ("held", "out_of_room")]
    for reason, name, then in (
        ("waiting", "Waiting", f"the sweep (collect-imports/sweep) goes on by itself; now: {SWEEP}"),
        ("under_way", "Under way", "the run that asked for them goes on"),
    ):
        if count := sum(one.posts for one in requests if one.reason == reason):
            found.append((name, f"{counted(count, 'post')}; {then}"))
    return found


def command(one: Pending) -> str | None:
    """The command that goes on with it; None where nothing has to be done."""
    if one.reason == "held":
        return retry_held(one.collection)
    if one.reason == "waiting":
        return SWEEP
    return same_command(one) if one.reason == "out_of_room" else None


def retry_held(collection: str | None) -> str:
    """The command that takes up what is held."""
    return _spelled("tagtrail", "retry", "--held", *_option("--collection", collection))


def same_command(one: Pending) -> str:
    """The command that asked for it, as far as its parameters tell; it goes on under a cap of its own."""
    asked: dict[str, Any] = one.parameters or {}
    imports = asked.get("imports") or []
    kinds = {each.get("kind") for each in imports}
    common = [
        *_option("--collection", asked.get("collection"), default="default"),
        *_option("--namespace", asked.get("namespace"), default=asked.get("collection")),
        *_option("--channel", asked.get("channel"), default="auto"),
    ]
    if asked.get("library") == "public":
        common += ["--library", "public", "--permanent"]
    if one.flow == "collect-imports":
        return retry_held(one.collection)
    if kinds in ({"hashtag"}, {"creator"}):
        (kind,) = kinds
        words = ["run"] if kind == "hashtag" else ["import", "creators"]
        named = [each["wanted"][kind] for each in imports]
        return _spelled("tagtrail", *words, *named, "--posts", str(imports[0]["requested"]), *common)
    return _spelled("tagtrail", *(["import", "urls"] if kinds else ["enrich"]), "URL…", *common)


def _line(one: Pending) -> tuple[str, str]:
    what = [counted(one.posts, "post")] if one.posts else []
    what += [f"{counted(one.imports, 'import')} not sent"] if one.imports else []
    of = f"of {one.flow} of {one.started_at:%Y-%m-%d %H:%M} UTC" if one.started_at else "that no run asks for any more"
    of += f" (collection {one.collection})" if one.collection else ""
    if one.reason == "held":
        stopped = f"stopped by {one.stopped_by} at {one.stopped_at:%Y-%m-%d %H:%M} UTC ({one.stopped_why})"
        go_on = retry_held(one.collection)
        return "Held", f"{' and '.join(what)} {of}, {stopped}; go on: {go_on} · give up: {go_on} --close"
    cap = "" if one.cap_micros is None else f", whose cap of {one.cap_micros / 1e6:,.2f} USD is used up"
    return "Out of room", f"{' and '.join(what)} {of}{cap}; go on under another cap: {same_command(one)}"


def _option(name: str, value: str | None, *, default: str | None = None) -> list[str]:
    return [] if value in (None, default) else [name, str(value)]


def _spelled(*words: str) -> str:
    return shlex.join(words).replace("'URL…'", "URL…")
