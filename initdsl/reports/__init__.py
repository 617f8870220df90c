"""Plans and reports as tables, explanations and HTML pages."""
