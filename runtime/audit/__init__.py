"""What leaks: asking releases, attacking, reading the scores, testing claims."""
