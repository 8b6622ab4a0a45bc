"""What a worker can be asked for, and which release levels an arm has."""
