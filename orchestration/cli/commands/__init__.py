"""One module per command, each with a ``command`` of the module's name; loaded when it is called."""
