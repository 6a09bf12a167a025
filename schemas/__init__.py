"""What goes in and what comes out: events, account settings, topics, the snapshot document, and their bytes."""
