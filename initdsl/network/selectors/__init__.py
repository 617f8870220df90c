"""What a selector selects in a described network, and why it selects nothing."""
