"""Tagtrail on several machines: the image, the services, and how a container gets at its secrets."""
