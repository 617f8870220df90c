"""A Plan to tensors: the only code that writes to one."""
