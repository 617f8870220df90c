"""What the parser makes of each rule of the grammar, a function for every rule."""
