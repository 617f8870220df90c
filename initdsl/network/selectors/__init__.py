"""What a selector selects in a described model, and why it selects nothing."""
