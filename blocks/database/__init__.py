"""The database: its tables and their migrations, connections and transactions, and the store that holds all SQL."""
