"""Planning a transaction and carrying it out."""
