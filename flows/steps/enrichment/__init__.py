"""Posts: claimed, fetched, mapped, stored."""
