"""Pages for people: one HTML file each, without a script and without a look at the network. Pure text from data."""
