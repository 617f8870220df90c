"""One file a lint. Its name is the file's; its documentation, examples included, is the file's docstring."""
