"""Models spread over ranks: each fills its part; all agree before, or none does."""
