"""Mappers from the platforms' payloads to post records, and what is kept of commenters."""

from blocks.memories.posts.mapping import PARSER_VERSION, map_post
from blocks.memories.posts.scrub import scrub_comments

__all__ = ["PARSER_VERSION", "map_post", "scrub_comments"]
