"""What the account may do: rates and money."""
