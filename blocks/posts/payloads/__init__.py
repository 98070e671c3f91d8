"""The platforms' payloads: their forms as tables, and what becomes of them."""
