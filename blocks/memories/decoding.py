"""Decompresses answers while they arrive, and never more of them than is wanted."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, Callable


class BadCoding(ValueError):
    """A body whose compression is broken, or is none that was asked for."""


class _Zlib:
    """gzip, or deflate with or without its header: servers send either (RFC 9110, 8.4.1.2)."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)
        self._begun = False

    def decode(self, chunk: bytes, max_bytes: int) -> bytes:
        try:
            out = self._inflate.decompress(chunk, max_bytes)
        except zlib.error:
            if self._begun:
                raise
            self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            out = self._inflate.decompress(chunk, max_bytes)
        self._begun = True
        return out


def _decoder(content_encoding: str | None) -> Callable[[bytes, int], bytes]:
    match (content_encoding or "").strip().lower():
        case "" | "identity":
            return lambda chunk, max_bytes: chunk[:max_bytes]
        case "gzip" | "x-gzip" | "deflate":
            return _Zlib().decode
    raise BadCoding("it is compressed twice, or in a way that was not asked for")


async def decoded(chunks: AsyncIterable[bytes], content_encoding: str | None, max_bytes: int) -> bytes:
    """The body, of which reading ends once it is longer than `max_bytes`: then one byte more than these is returned.

    No chunk is decompressed further than that, whatever it would grow to.

    Raises:
        BadCoding: more than one coding, one that was not asked for, or a broken one.
    """
    decode = _decoder(content_encoding)
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        try:
            part = decode(chunk, max_bytes + 1 - size) if chunk else b""
        except zlib.error:
            raise BadCoding("its compression is broken") from None
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)
