"""Plan to rows: trains, synthesizes, attacks, and keeps what came out."""
