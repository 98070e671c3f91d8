"""What keeps the data in order: refresh, erasure, decisions, reports."""
