"""What computes exported networks."""
