"""What a person reads at the end of a run: the leading posts, what came of it, what it cost, what to do next.

What is pending has one command each that goes on with it; `tagtrail status` names them too.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from rich.text import Text

from blocks.outside_words import plain
from deployments.cli.posts_table import posts_table
from deployments.cli.terminal import counted, flush, results, unbroken, write_json
from flows.steps.run.summary import SAMPLE, TODAY, UNFINISHED, ImportSummary, RunSummary

if TYPE_CHECKING:
    # Where there is no database none of it is loaded.
    from blocks.database.store.runs import Pending
    from blocks.database.tables import Post


def as_json(summary: RunSummary) -> dict[str, Any]:
    """A run's result for `--json`: every field of the summary, its length and its exit status."""
    return {
        **summary.model_dump(mode="json"),
        "seconds": round(summary.seconds, 3),
        "exit_status": summary.exit_status,
    }


def tell_result(
    summary: RunSummary,
    leading: Sequence[Post],
    *,
    where: Sequence[str],
    json: bool,
    names: Mapping[str, str] | None = None,
) -> None:
    """Write a run's result to standard output; `leading`: posts to show, `where`: where to look next.

    `names`: what imports are called on this terminal, by their ids, where the summary names nobody.
    """
    if json:
        write_json(as_json(summary))
        return
    console = results()
    if leading:
        console.print("Leading posts of this run:", style="bold")
        console.print(posts_table(leading, width=console.width))
    line = outcome_line(summary)
    console.print(Text(unbroken(line.plain, console.width), style=line.style), soft_wrap=True)
    for text in (*result_lines(summary, names or {}), *where):
        console.print(Text(unbroken(text, console.width)), soft_wrap=True)
    flush()


def outcome_line(summary: RunSummary) -> Text:
    """The run's message, coloured by how it ended."""
    style = {"done": "bold green", "attention": "bold yellow"}
    return Text(plain(summary.message), style=style.get(summary.outcome, "bold red"))


def result_lines(summary: RunSummary, names: Mapping[str, str] = MappingProxyType({})) -> list[str]:
    """What came of the run, a sentence or two a line; `names` as in `tell_result`."""
    lines = []
    counts = [("enriched", summary.enriched), ("failed", summary.failed), ("gone", summary.gone)]
    counts.append(("pending", summary.pending))
    text = f"Posts: {summary.requested:,} = " + " + ".join(f"{count:,} {name}" for name, count in counts)
    if summary.fresh:
        text += f" ({summary.fresh:,} of the enriched were measured recently and not bought again)"
    lines.append(f"{text}.")
    if summary.platforms:
        found = ", ".join(f"{name} {count:,}" for name, count in sorted(summary.platforms.items()))
        lines.append(f"Platforms found: {found}.")
    tags = [each for each in summary.imports if each.kind == "hashtag"]
    lines += [_import_line(each, names.get(each.import_id, each.name)) for each in summary.imports]
    lines += _decisions(summary)
    if tags:
        lines.append(f"{SAMPLE} {TODAY}")
    if summary.failures:
        lines.append("Failures: " + ", ".join(f"{name} {count:,}" for name, count in summary.failures.items()) + ".")
    lines.append(_cost_line(summary))
    lines += [f"Note: {plain(note)}" for note in summary.notes]
    return lines


def next_steps(summary: RunSummary) -> str:
    """What there is to do after a run: what needs somebody first, then what can be done with the posts."""
    steps = []
    if summary.held or summary.held_imports:
        steps.append(retry_held(summary.collection))
    elif summary.halted_because is not None or summary.outcome == "failed":
        steps.append("the same command, once what ended it is mended")
    elif summary.pending or any(one.state in UNFINISHED for one in summary.imports):
        steps.append("the same command, which continues")
    steps += [f"tagtrail resolve {one.import_id} …" for one in summary.imports if one.state == "ambiguous"]
    if summary.failed:
        steps += ["tagtrail export failures", "tagtrail retry"]
    if summary.enriched:
        steps += [] if summary.failed else ["tagtrail export posts --output posts.csv", "tagtrail report"]
    elif not steps and any(one.state == "empty" for one in summary.imports):
        steps.append("the same command in an hour, which looks at an empty import again, or another hashtag")
    elif not steps and not summary.requested:
        steps.append("another hashtag, or posts by URL (tagtrail enrich URL…), for there is nothing to export")
    return " · ".join([*steps, "tagtrail status"])


EMPTY: Final = (
    "nothing was seen by the deadline, which is not to say that nothing exists; the next run looks at it again, "
    "--fresh buys a new one"
)


def _import_line(each: ImportSummary, what: str) -> str:
    note = f" ({plain(each.note)})" if each.note else ""
    if each.how == "reused" and each.state == "complete" and not each.new:
        return f"Import {what}: re-used; {counted(each.seen, 'post')}{note}."
    how = "" if each.how in ("submit", "submitted") else f", {each.how.replace('reused', 're-used')}"
    found = (
        f"{each.seen:,} of {each.requested:,} posts seen: {each.new:,} new, {each.known:,} known"
        if each.state != "empty"
        else EMPTY
    )
    return f"Import {what}: {each.state}{how}, {found}{_beside_the_one_before(each)}{note}."


def _beside_the_one_before(each: ImportSummary) -> str:
    withheld = f"; {each.withheld:,} left out, erased on request" if each.withheld else ""
    if each.overlap is None or each.not_seen_again is None:
        return withheld
    return (
        f"; of the {counted(each.overlap + each.not_seen_again, 'post')} of the import before it {each.overlap:,} "
        f"listed again, {each.not_seen_again:,} not seen again{withheld}"
    )


def _decisions(summary: RunSummary) -> list[str]:
    """How to decide the imports that are in doubt, where no note of the run says so."""
    notes = " ".join(summary.notes)
    return [
        f"Decide the import of {each.name}, which is in doubt: "
        f"tagtrail resolve {each.import_id} --resubmit|--attach TASK_ID|--drop"
        for each in summary.imports
        if each.state == "ambiguous" and f"resolve {each.import_id}" not in notes
    ]


def _cost_line(summary: RunSummary) -> str:
    calls = ", ".join(f"{count:,} {name}" for name, count in summary.calls.items())
    per_thousand = (
        "" if summary.usd_per_1000_new is None else f"; {summary.usd_per_1000_new:,.2f} USD per 1,000 new posts"
    )
    bought = f" for {calls}" if calls else ""
    return f"Cost: {summary.cost_usd:,.2f} USD{bought}{per_thousand}, estimated by the price table."


SWEEP = "prefect deployment run collect-imports/sweep"


def pending_lines(requests: list[Pending]) -> list[tuple[str, str]]:
    """A label and a text for each run whose request is not settled, and one for all that a sweep goes on with."""
    found = [_pending_line(one) for one in requests if one.reason in ("held", "out_of_room")]
    for reason, name, then in (
        ("waiting", "Waiting", f"the sweep (collect-imports/sweep) goes on by itself; now: {SWEEP}"),
        ("under_way", "Under way", "the run that asked for them goes on"),
    ):
        if count := sum(one.posts for one in requests if one.reason == reason):
            found.append((name, f"{counted(count, 'post')}; {then}"))
    return found


def go_on_command(one: Pending) -> str | None:
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


def _pending_line(one: Pending) -> tuple[str, str]:
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
