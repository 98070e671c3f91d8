"""A flow that does nothing: what Prefect alone takes to start one, beside Tagtrail in `first_post.py`."""

from prefect import flow


@flow
def bare() -> None:
    """Its body is empty; Prefect notes when it began."""


if __name__ == "__main__":
    bare()
