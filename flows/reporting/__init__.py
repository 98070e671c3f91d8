"""The report: figures of what is stored, plots, and one HTML page that needs nothing else."""
