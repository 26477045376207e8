"""How older forms of operators become the newest, by what has changed."""
