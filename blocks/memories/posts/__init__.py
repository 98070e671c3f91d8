"""What a post's payload says: a table of paths per form of payload, and one engine that reads them all."""
