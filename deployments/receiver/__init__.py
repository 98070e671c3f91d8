"""The webhook receiver: takes the service's callbacks in, and makes Prefect events of them."""
