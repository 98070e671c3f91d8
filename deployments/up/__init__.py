"""The whole local stack in one command: Prefect server, worker, deployments, receiver, and the sandbox if wanted."""
