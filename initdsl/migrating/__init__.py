"""Rule files from what is there already: other libraries' settings, and networks as their code starts them."""
