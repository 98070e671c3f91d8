"""The memories.ai API: its client, what it is asked and answers, its errors, and the posts that come back."""
