"""Which meanings an engine that is not ours has agreed on, operator by attribute."""
