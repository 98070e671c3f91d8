"""The remote API as a real local server, written from its contract alone; it shares no model with the client."""
