-- Run once, when Postgres makes its cluster: Tagtrail's data in a database of its own, beside Prefect's.
CREATE DATABASE tagtrail;
