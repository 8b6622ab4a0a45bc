"""Power analysis in closed form: what an audit of a given size can resolve."""
