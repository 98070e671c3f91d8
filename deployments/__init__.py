"""When and where: the command line, the local Prefect server, the sandbox API."""
