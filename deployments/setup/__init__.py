"""Makes on a Prefect server what Tagtrail needs there, and leaves alone what stands already."""
