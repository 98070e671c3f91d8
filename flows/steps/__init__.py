"""The steps that flows are made of; each reads and writes through the store, so that a rerun goes on."""
