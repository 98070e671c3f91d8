"""Checks what Tagtrail needs, changes nothing, and says of each thing what to do."""
