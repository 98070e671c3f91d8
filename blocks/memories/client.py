"""The client of the remote API: every call once, with errors that say what is known."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn, Self, Unpack

import httpx
import orjson
from pydantic import SecretStr

from blocks import network
from blocks.errors import BadKey, BadParameters, MemoriesError, NoAnswer, NotFound, NotSent, Unreadable, UsageError
from blocks.memories import requests, responses
from blocks.memories.decoding import BadCoding, decoded
from blocks.memories.redaction import Scrubber
from blocks.memories.requests import Where
from blocks.memories.responses import ImportItemSeen, MetadataAnswer
from blocks.posts.platforms.registry import PLATFORMS
from blocks.posts.record import Channel, PostRef

__all__ = ["ImportItemSeen", "MemoriesClient", "MetadataAnswer", "Where"]

MAX_BODY_BYTES = 20_000_000
"""A larger answer is not read to its end; the largest real payloads are some hundred kilobytes."""

KEEP_SECONDS = 4.0
"""How long an idle connection is kept: less than the 5 s after which common servers close one, for a request
that crosses such a closing has no answer, and a submission without an answer is ambiguous."""

CONNECT_SECONDS = 10.0
"""How long a connection may take to be made; much less than a call, so that it ends as NotSent and not as ambiguous."""

# Raised before the first byte of a request is written, and never after. LocalProtocolError, WriteError and all that
# can happen on a kept connection are left out on purpose: they can come after bytes have left.
_NOTHING_LEFT = (
    httpx.ConnectError,  # refused, no such host, no route, TLS handshake failed
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,  # the proxy would not open the tunnel
    httpx.UnsupportedProtocol,
)


class MemoriesClient:
    """The remote API for one account; async, and made for thousands of calls at once.

    Nothing is retried here but other forms of a post's URL: retries, rates and money are the caller's, and the bound
    on concurrency is a semaphore of the caller's that is no larger than `max_connections`. Connections are made when
    first needed, in the loop that runs then. Proxies of the environment are used, but never for this machine itself.
    Submissions and polls have a connection each, so that bytes left over from another call never answer them; those
    of metadata are kept, for its answers name their post.

    The key is sent to the two base URLs and shown nowhere: it is cut out of answers before they are read.

    Args:
        api_key: sent bare as the `Authorization` header.
        timeout_seconds: how long one call may take in all, a body that drips in among it.
        transport: takes the place of real connections, in tests.
        now: the clock by which a `Retry-After` date is read.
        witness: is shown each answer as it came, without the key: (endpoint, HTTP status, body).
        allow_http: the key may go over http:// to another machine (TAGTRAIL_ALLOW_HTTP).
        max_body_bytes: a longer answer is not read to its end.
        key_advice: what to do where the key is refused, such as "set MEMORIES_API_KEY to a valid key".

    Raises UsageError where the key, a base URL, or a proxy or certificate of the environment cannot be used.
    """

    def __init__(
        self,
        api_key: SecretStr,
        *,
        v1_base_url: str,
        v2_base_url: str,
        timeout_seconds: float = 90.0,
        max_connections: int = 100,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        witness: Callable[[str, int, bytes], None] | None = None,
        callback_url: str | None = None,
        account: str = "",
        allow_http: bool = False,
        max_body_bytes: int = MAX_BODY_BYTES,
        key_advice: str = "",
    ) -> None:
        key = requests.checked_key(api_key.get_secret_value())
        self._v1 = requests.checked_base_url("MEMORIES_V1_BASE_URL", v1_base_url, allow_http=allow_http)
        v2 = requests.checked_base_url("MEMORIES_V2_BASE_URL", v2_base_url, allow_http=allow_http)
        self.hosts = requests.hosts_of(self._v1, v2)
        self.account = requests.account_name(key, account)
        """Names the account in the database; see `accounts`."""
        self.account_was_given = bool(account.strip())
        self._v2_shown = v2
        self._metadata_urls = {name: httpx.URL(v2 + spec.metadata_path) for name, spec in PLATFORMS.items()}
        # httpx shows `Authorization` as [secure]; prepared once, for a request copies them at little cost.
        self._headers = httpx.Headers(
            {"Authorization": key, "Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
        )
        self._json_headers = httpx.Headers({**self._headers, "Content-Type": "application/json"})
        self._scrub = Scrubber(key, callback_url)
        self._callback_url = None if callback_url is None else SecretStr(callback_url)
        self._timeout_seconds = requests.checked_timeout(timeout_seconds)
        # Read and write have no limit of their own: the one over the whole call holds for them too.
        connect_seconds = min(CONNECT_SECONDS, timeout_seconds / 3)
        self._extensions = {
            "timeout": {"connect": connect_seconds, "pool": timeout_seconds / 2, "read": None, "write": None}
        }
        self._max_connections = max_connections
        self._max_body_bytes = max_body_bytes
        self._transport = transport
        self._now = now
        self._witness = witness
        self._key_advice = key_advice
        self._http: httpx.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forms = requests.FormsTaken()

    @property
    def callback_url(self) -> str | None:
        """Where the service may report an import's end, with the secret as its last part; None if not set up."""
        return None if self._callback_url is None else self._callback_url.get_secret_value()

    def __repr__(self) -> str:
        return f"MemoriesClient(account={self.account!r}, v1_base_url={self._v1!r}, v2_base_url={self._v2_shown!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a client holds a key and connections and goes nowhere: make one where it is needed")

    async def __aenter__(self) -> Self:
        self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections; a later call would open new ones."""
        http, self._http = self._http, None
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.aclose()

    async def import_hashtag(self, hashtag: str, count: int, **where: Unpack[Where]) -> str:
        """Start the import of the `count` newest posts of a hashtag; returns the import's task id.

        TikTok only, says the vendor. Billed per imported post; posts of the public library can never be deleted.

        Raises:
            UsageError: wrong input; nothing was sent.
            NotSent, Refused: nothing was started, unless it is Transient.
            Transient, NoAnswer, ServerFault, Unreadable: it may run, or not.
        """
        return await self._submit(*requests.hashtag_import(hashtag, count, where))

    async def import_urls(self, urls: Sequence[str], **where: Unpack[Where]) -> str:
        """Start the import of 1 to 50 posts of one platform by their URLs; returns the task id; errors as above."""
        return await self._submit(*requests.url_import(urls, where))

    async def import_creator(self, profile_url: str, count: int, **where: Unpack[Where]) -> str:
        """Start the import of a creator's `count` newest posts; returns the task id; errors as above."""
        return await self._submit(*requests.creator_import(profile_url, count, where))

    async def import_status(self, task_id: str, *, namespace: str | None = "default") -> list[ImportItemSeen]:
        """What an import has found so far, in the API's order; empty means "nothing yet" and "never" alike.

        `namespace` has to be the import's own: with another one the API answers with an empty list. None for an
        import into the public library, which knows no namespaces (contract §2.2): none is sent.

        Raises:
            MemoriesError: any but "no videos found", which is an empty list.
        """
        url = httpx.URL(self._v1 + requests.status_path(task_id, namespace))
        try:
            body, data = await self._call("GET", url, requests.STATUS_PATH)
        except MemoriesError as error:
            if responses.means_no_videos(error):
                return []
            raise
        return responses.import_items(data, endpoint=requests.STATUS_PATH, body=body)

    async def metadata(
        self,
        ref: PostRef,
        channel: Channel,
        *,
        source_url: str | None = None,
        before_second_call: Callable[[], Awaitable[object]] | None = None,
    ) -> MetadataAnswer:
        """The platform's metadata of one post, whatever a success envelope holds (null among it).

        Where the first form of the URL (`requests.url_forms`) is refused as a bad parameter or not found, the next one
        is tried; not so once the channel has served a post under that form. What helped comes first from then on.

        Args:
            source_url: the URL as the import gave it.
            before_second_call: awaited before each further call, so that it has its own slot and money.

        Raises:
            UsageError: unknown channel.
            MemoriesError: the last call's error; its `calls` counts all.
        """
        requests.checked_channel(channel)
        endpoint = PLATFORMS[ref.platform].metadata_path
        forms = self._forms.in_order(ref, channel, source_url)
        for calls, asked in enumerate(forms, start=1):
            content = orjson.dumps({"video_url": asked, "channel": channel})
            try:
                url = self._metadata_urls[ref.platform]
                body, data = await self._call("POST", url, endpoint, content, kept=True)
            except MemoriesError as error:
                error.calls = calls
                if calls == len(forms) or not isinstance(error, BadParameters | NotFound):
                    raise
                if self._forms.takes(ref.platform, channel, asked):
                    raise
                if before_second_call is not None:
                    await before_second_call()
            else:
                self._forms.served(ref.platform, channel, forms[:calls])
                return MetadataAnswer(body, data, asked, channel, calls)
        raise AssertionError("unreachable: the last form returns or raises")

    async def _submit(self, path: str, fields: dict[str, Any]) -> str:
        body, data = await self._call("POST", httpx.URL(self._v1 + path), path, orjson.dumps(fields))
        return responses.task_id_of(data, endpoint=path, body=body)

    def _open(self) -> httpx.AsyncClient:
        loop = asyncio.get_running_loop()
        if self._http is None or self._loop is not loop:
            transport = self._transport or _Connections(self._max_connections)
            self._http = httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False)
            self._loop = loop
        return self._http

    async def _call(
        self, method: str, url: httpx.URL, endpoint: str, content: bytes | None = None, *, kept: bool = False
    ) -> tuple[bytes, Any]:
        """One call: the whole body, without the key, and the envelope's data.

        `kept`: the connection may have served other calls, and may serve more.
        """
        http = self._open()
        headers = (self._headers if content is None else self._json_headers).copy()
        if not kept:
            headers["Connection"] = "close"
        request = httpx.Request(method, url, headers=headers, content=content, extensions=self._extensions)
        failure: MemoriesError
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await http.send(request, stream=True)
                try:
                    body = await _whole_body(response, self._max_body_bytes)
                finally:
                    await response.aclose()
        except _NOTHING_LEFT as error:
            failure = NotSent(f"{url.netloc.decode()}: {self._scrub.words_of(error)}", endpoint=endpoint)
        except TimeoutError:
            failure = NoAnswer(f"no whole answer within {self._timeout_seconds:g} s", endpoint=endpoint)
        except BadCoding as error:
            failure = Unreadable(str(error), endpoint=endpoint)
        except (httpx.HTTPError, OSError) as error:
            failure = NoAnswer(self._scrub.words_of(error), endpoint=endpoint)
        else:
            body = self._scrub(body)
            if self._witness is not None:
                self._witness(endpoint, response.status_code, body)
            if len(body) > self._max_body_bytes:
                raise Unreadable("larger than any answer", endpoint=endpoint, body=body[: self._max_body_bytes])
            try:
                return body, responses.open_envelope(
                    body,
                    http_status=response.status_code,
                    endpoint=endpoint,
                    retry_after=response.headers.get("retry-after"),
                    now=self._now,
                )
            except BadKey as error:
                error.advice = self._key_advice
                raise
        # Raised out here, so that httpx's exception, whose request holds the key, is not carried along as context.
        raise failure


async def _whole_body(response: httpx.Response, max_bytes: int) -> bytes:
    """The body, decompressed; at most a little more than `max_bytes` of it where there is more."""
    # Undecoded bytes come straight from the connection: httpx's own reading costs more than the JSON's, and
    # decompresses without a bound.
    raw: Any = response.stream
    return await decoded(raw, response.headers.get("content-encoding"), max_bytes)


class _Connections(httpx.AsyncBaseTransport):
    """Connections, one httpx pool each: those of metadata are kept, and the one used last is taken first.

    httpx's own pool looks at every idle connection (a poll of its socket) for every request and again after it,
    so that its cost grows with the number of connections: at 50 of them it is ten times that of the request itself.
    """

    def __init__(self, most: int) -> None:
        self._free: dict[bytes, list[httpx.AsyncBaseTransport]] = {}
        self._slots = asyncio.Semaphore(most)
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._slots.locked():
            try:
                async with asyncio.timeout(request.extensions["timeout"]["pool"]):
                    await self._slots.acquire()
            except TimeoutError:
                raise httpx.PoolTimeout("all connections are in use", request=request) from None
        else:
            await self._slots.acquire()
        connection: httpx.AsyncBaseTransport | None = None
        kept = request.headers.get("connection") != "close"
        free = self._free.setdefault(request.url.netloc, []) if kept else []
        try:
            connection = free.pop() if free else self._new(request.url)
            response = await connection.handle_async_request(request)
        except BaseException:
            self._slots.release()
            if connection is not None:
                await connection.aclose()
            raise
        response.stream = _Returning(response.stream, connection, free if kept else None, self._slots)
        return response

    def _new(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        proxy = network.proxy_for(url.scheme, url.host)
        if url.scheme == "http" and proxy is None:
            verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # Unused; the real one takes 20 ms to load.
        else:
            verify = self._tls = self._tls or network.certificates() or httpx.create_ssl_context(trust_env=False)
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_SECONDS)
        try:
            return httpx.AsyncHTTPTransport(verify=verify, limits=limits, proxy=proxy)
        except (ValueError, ImportError):
            raise UsageError(f"HTTPS_PROXY or ALL_PROXY names no proxy that can be used for {url.host}") from None

    async def aclose(self) -> None:
        kept = [connection for free in self._free.values() for connection in free]
        self._free.clear()
        for connection in kept:
            await connection.aclose()


class _Returning(httpx.AsyncByteStream):
    """A response's body that gives its connection back when it is closed, or closes it where it is not kept."""

    def __init__(
        self,
        stream: Any,
        connection: httpx.AsyncBaseTransport,
        free: list[httpx.AsyncBaseTransport] | None,
        slots: asyncio.Semaphore,
    ) -> None:
        self._stream, self._connection, self._free, self._slots = stream, connection, free, slots
        self._open = True

    def __aiter__(self) -> AsyncIterator[bytes]:
        chunks: AsyncIterator[bytes] = self._stream.__aiter__()
        return chunks

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            try:
                await self._stream.aclose()
                if self._free is None:
                    await self._connection.aclose()
            finally:
                self._slots.release()
                if self._free is not None:
                    self._free.append(self._connection)
