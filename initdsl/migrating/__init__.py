"""Rule files from what is there already: other libraries' settings, and models as their code starts them."""
