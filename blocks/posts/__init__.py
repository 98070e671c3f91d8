"""What a post is: addresses, captions, records, payloads; no I/O."""
