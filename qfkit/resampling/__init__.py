"""What chance would have made of a run: its own returns and trades, drawn anew."""
