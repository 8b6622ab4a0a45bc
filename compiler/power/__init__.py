"""What an audit of this size could show, before anything runs."""
