"""What Prefect shows of a run, and what it is asked."""
