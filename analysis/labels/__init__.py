"""What experts tell about labels (domain, language, word), and how much of it the words alone explain."""
