"""Imports: planned, submitted, polled."""
