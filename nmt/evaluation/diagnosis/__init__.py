"""What limits a trained model: its fit, its search settings and the amount of its text."""
