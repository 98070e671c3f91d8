"""What runs and tasks are called in Prefect: by what they do, and never by a person's name."""

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prefect.runtime import flow_run

from blocks.errors import NotAPostUrl, UsageError
from blocks.posts.identity import parse_creator_url, parse_post_url
from blocks.posts.record import PostRef

MAX_HASHTAGS_NAMED = 6
MAX_HASHTAG_TAGS = 20
"""With 120 tags Prefect's server answers 500 when a run is created."""

MAX_NAME_CHARACTERS = 150


def run_name() -> str:
    """The name of the flow run under way, made from its flow and its parameters; for `@flow(flow_run_name=…)`."""
    return name_of_run(flow_run.flow_name or "", flow_run.parameters or {})


def name_of_run(flow: str, parameters: Mapping[str, Any]) -> str:
    """`fashion: #lvmh #dior · 25 posts`, `creators: 3 · tiktok`, `refresh: all collections`, …

    The parameters are not checked yet: whatever they are, this gives a name and raises nothing.
    """
    name = _NAMES[flow](parameters) if flow in _NAMES else flow
    plain = " ".join("".join(letter for letter in name if letter.isprintable()).split())[:MAX_NAME_CHARACTERS]
    return " ".join(_in_its_place(word) for word in plain.split())


def _in_its_place(word: str) -> str:
    """An Arabic or Hebrew hashtag with a left-to-right mark after it: else what follows is shown to the left of it."""
    return f"{word}\u200e" if any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in word) else word


def tags_of_run(collection: str | None, hashtags: Iterable[str]) -> list[str]:
    """`tagtrail`, the collection, and the first 20 hashtags: what the UI's list of runs is filtered by."""
    named = [f"#{tag}" for tag in list(hashtags)[:MAX_HASHTAG_TAGS]]
    return list(dict.fromkeys(["tagtrail", *([collection] if collection else []), *named]))


def posts_named(refs: Sequence[PostRef]) -> str:
    """`instagram/CODE`, or `50 posts`."""
    if len(refs) != 1:
        return f"{len(refs)} posts"
    return f"{refs[0].platform}/{refs[0].shortcode or refs[0].post_id}"


def _track_hashtags(parameters: Mapping[str, Any]) -> str:
    hashtags = [f"#{str(tag).strip().lstrip('#')}" for tag in _list(parameters, "hashtags")]
    more = f" +{len(hashtags) - MAX_HASHTAGS_NAMED}" if len(hashtags) > MAX_HASHTAGS_NAMED else ""
    named = " ".join(hashtags[:MAX_HASHTAGS_NAMED])
    return f"{_collection(parameters)}: {named}{more} · {parameters.get('posts_per_hashtag', 25)} posts"


def _import_creators(parameters: Mapping[str, Any]) -> str:
    creators = _list(parameters, "creators")
    platforms = _platforms(creators, lambda url: parse_creator_url(url)[0])
    return f"creators: {len(creators)}{platforms} · {_collection(parameters)}"


def _posts(verb: str) -> Callable[[Mapping[str, Any]], str]:
    def name(parameters: Mapping[str, Any]) -> str:
        urls = _list(parameters, "urls")
        platforms = _platforms(urls, lambda url: parse_post_url(url).platform)
        return f"{verb}: {len(urls)} posts{platforms} · {parameters.get('collection', 'canary')}"

    return name


def _collect_imports(parameters: Mapping[str, Any]) -> str:
    if again := _list(parameters, "look_again_at"):
        return f"look again: {len(again)} imports"
    return "collect: held posts" if parameters.get("held") else "collect: open imports and pending posts"


def _refresh_metrics(parameters: Mapping[str, Any]) -> str:
    hashtag = str(parameters.get("hashtag") or "").strip().lstrip("#")
    return f"refresh: {parameters.get('collection') or 'all collections'}" + (f" #{hashtag}" if hashtag else "")


def _report(parameters: Mapping[str, Any]) -> str:
    days = parameters.get("days") or 0
    hashtag = str(parameters.get("hashtag") or "").strip().lstrip("#")
    of_hashtag = f" #{hashtag}" if hashtag else ""
    period = f" · {days} days" if days else " · all time"
    return f"report: {parameters.get('collection') or 'all collections'}{of_hashtag}{period}"


def _purge(parameters: Mapping[str, Any]) -> str:
    days = parameters.get("older_than_days") or 0
    dry = " (dry run)" if parameters.get("dry_run") else ""
    return (f"purge: older than {days} days" if days else "purge: by TAGTRAIL_RETENTION_DAYS") + dry


def _resolve_import(parameters: Mapping[str, Any]) -> str:
    return f"resolve {str(parameters.get('import_id', ''))[:8]}: {parameters.get('decision', '')}"


_NAMES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "track-hashtags": _track_hashtags,
    "import-creators": _import_creators,
    "import-posts": _posts("import"),
    "enrich-posts": _posts("enrich"),
    "canary": _posts("canary"),
    "collect-imports": _collect_imports,
    "refresh-metrics": _refresh_metrics,
    "report": _report,
    "purge": _purge,
    "resolve-import": _resolve_import,
}


def _list(parameters: Mapping[str, Any], name: str) -> list[Any]:
    value = parameters.get(name)
    return list(value) if isinstance(value, list | tuple) else []


def _collection(parameters: Mapping[str, Any]) -> str:
    return str(parameters.get("collection") or "default")


def _platforms(urls: Iterable[Any], platform_of: Callable[[str], str]) -> str:
    """` · instagram tiktok`, the most frequent first; nothing where no URL can be read."""
    found: Counter[str] = Counter()
    for url in urls:
        try:
            found[platform_of(str(url))] += 1
        except (NotAPostUrl, UsageError):
            continue
    return f" · {' '.join(name for name, _ in found.most_common())}" if found else ""
