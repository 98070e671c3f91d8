"""What Tagtrail starts and ends on this machine: its own Prefect server, and the whole stack of `tagtrail up`."""
